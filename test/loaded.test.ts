import { once } from 'node:events';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { type ImageInfo, type LoadedImage, loaded, loadedTable, SoHandle } from 'soswap';
import * as dl from 'soswap/dl';
import t from 'tap';
import { compile, compileAction, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';
import { Gate } from '../fixtures/gate.js';

const builds = twoBuilds(t.testdir());
const of = (path: string): LoadedImage[] => loaded().filter((image) => image.path === path);

t.test('a live image is listed with the facts of its handle', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  t.same(of(path), []);
  const so = SoHandle.open(path);
  t.match(of(path), [
    { ...so.image, path, state: 'live', retained: [], callsInFlight: 0, neededBy: [] },
  ]);
  const [first] = of(path);
  t.equal(first?.thread, process.pid, 'the main thread');
  t.ok((first?.memorySize ?? 0) >= 4 * 4096);

  copyFileSync(two, path);
  so.swapSync();
  t.match(of(path), [{ ...so.image, generation: 2, state: 'live' }]);
  t.equal(of(path).length, 1, 'the image that was unmapped is not listed');
  so.close();
  t.same(of(path), []);
});

t.test('two handles of one path have an image each', async (t) => {
  const one = SoHandle.open(builds.so);
  const other = SoHandle.open(builds.so);
  t.match(of(builds.so), [{ base: one.image?.base }, { base: other.image?.base }]);
  one.close();
  t.match(of(builds.so), [{ base: other.image?.base }]);
  other.close();
});

t.test('a retained image is listed with its reason, oldest first', async (t) => {
  const path = compileAction(join(t.testdir(), 'so.so'), 1111, '-Wl,-z,nodelete');
  const so = SoHandle.open(path);
  const { retained } = so.swapSync();
  t.match(of(path), [
    { generation: 1, state: 'retained', retained: [{ code: 'nodelete', detail: /\w/ }] },
    { generation: 2, state: 'live', retained: [] },
  ]);
  t.same(of(path)[0]?.retained, retained);
  so.close();
  t.match(of(path), [{ state: 'retained' }, { state: 'retained' }]);
});

t.test('a table shows these facts to people', async (t) => {
  const directory = t.testdir();
  const path = compile('gate.c', join(directory, 'gate.so'), '-DLINE=1', '-Wl,-soname,gate.so');
  const needing = compile('retain/needing.c', join(directory, 'needing.so'), path);
  const so = SoHandle.open(path, {
    pass: { arguments: ['buffer'], return: 'int32', nonblocking: true },
  });
  const handle = dl.dlopen(needing);
  const old = so.image;
  const { current } = so.swapSync();
  const gate = new Gate();
  const call = so.functions.pass(gate.words);
  await gate.arrival();
  const bytes = (of(path)[0]?.copySize ?? 0) + (of(path)[0]?.writtenSize ?? 0);
  const cells = (image: ImageInfo) => [
    `${image.inode}`,
    image.buildId?.slice(0, 8),
    `0x${image.base.toString(16)}`,
    bytes.toLocaleString('en'),
  ];
  const [head = '', , ...lines] = loadedTable().trimEnd().split('\n');
  const columns = [...head.matchAll(/(needed by|build id|\w+) */g)].map(({ index }) => index);
  const rows = lines.map((line) => columns.map((at, n) => line.slice(at, columns[n + 1]).trim()));
  t.same(
    rows.filter(([library]) => library === path),
    [
      [path, '1', ...cells(old!), 'retained: needed-by', '0', 'needing.so'],
      [path, '2', ...cells(current), 'live', '1', ''],
    ],
  );
  t.equal(loadedTable([]).split('\n').length, 3, 'a head and a rule');
  const wide = { ...loaded()[0]!, generation: 1 };
  t.match(
    loadedTable([
      { ...wide, path: '/價格.so' },
      { ...wide, path: '/price.so' },
    ]),
    /^\/價格\.so {3}1 .*\n\/price\.so {2}1 /m,
    'columns are as wide as characters are on a terminal',
  );
  gate.open();
  await call;
  dl.dlclose(handle);
  so.close();
});

t.test('calls in flight are counted', async (t) => {
  const path = compile('gate.c', join(t.testdir(), 'gate.so'), '-DLINE=1111');
  const so = SoHandle.open(path, {
    pass: { arguments: ['buffer'], return: 'int32', nonblocking: true },
  });
  const gate = new Gate();
  const calls = [so.functions.pass(gate.words), so.functions.pass(gate.words)];
  await gate.arrival(2);
  t.match(of(path), [{ callsInFlight: 2 }]);
  gate.open();
  t.same(await Promise.all(calls), [1111, 1111]);
  t.match(of(path), [{ callsInFlight: 0 }]);
  so.close();
});

t.test('images of other threads are listed, until the thread ends', async (t) => {
  const program = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.soswap).then(({ SoHandle }) => {
      globalThis.so = SoHandle.open(workerData.path);
      parentPort.on('message', () => process.exit());
      parentPort.postMessage('open');
    });
  `;
  const workerData = { path: builds.two, soswap: import.meta.resolve('soswap') };
  // tap's loader is not for it.
  const worker = new Worker(program, { eval: true, workerData, execArgv: [], env: {} });
  await once(worker, 'message');
  const own = SoHandle.open(builds.two);
  const images = of(builds.two);
  t.match(images, [{ state: 'live' }, { state: 'live', thread: process.pid }]);
  t.not(images[0]?.thread, process.pid);
  t.ok(Number.isInteger(images[0]?.thread));
  worker.postMessage('end');
  await once(worker, 'exit');
  t.match(of(builds.two), [{ thread: process.pid }]);
  own.close();
});

t.test('objects that need an image are named', async (t) => {
  const directory = t.testdir();
  const soname = '-Wl,-soname,libneeded-here.so.1';
  const path = compileAction(join(directory, 'so.so'), 1111, soname);
  const needing = compile('retain/needing.c', join(directory, 'needing.so'), path);
  const so = SoHandle.open(path);
  t.match(of(path), [{ neededBy: [] }]);
  const handle = dl.dlopen(needing);
  t.match(of(path), [{ neededBy: [needing] }]);
  t.match(so.swapSync().retained, [{ code: 'needed-by' }]);
  t.match(of(path), [
    { generation: 1, state: 'retained', neededBy: [needing] },
    { generation: 2, state: 'live', neededBy: [] },
  ]);
  dl.dlclose(handle);
  t.match(of(path), [{ generation: 2 }], 'it went with the last who needed it');
  so.close();
});

t.test(
  "a few walks through the loader's list are enough, however many images are retained",
  async (t) => {
    const cwd = t.testdir();
    const LD_PRELOAD = compile('count-walks.c', join(cwd, 'count-walks.so'));
    const program = `
    import { loaded, SoHandle } from 'soswap';
    import * as dl from 'soswap/dl';
    const count = dl.functionAt(dl.dlsym(dl.dlopen('${LD_PRELOAD}'), 'visited_objects'), { return: 'int32' });
    const visitsOf = (work) => {
      const before = count();
      work();
      return count() - before;
    };
    const so = SoHandle.open('${builds.so}', {});
    for (let round = 0; round < 120; round++) so.swapSync({ unload: 'never' });
    process.send([visitsOf(loaded), visitsOf(() => so.swapSync()), loaded().length]);
  `;
    const { messages, ...ended } = await runProgram(program, { cwd, env: { LD_PRELOAD } });
    t.match(ended, exitedCleanly);
    const [[forList, forSwap, images]] = messages as [[number, number, number]];
    t.equal(images, 121);
    const objects = images + 40; // Node.js and its libraries are 10, and the rest is room
    t.ok(forList >= images && forList <= 6 * objects, `${forList} visits for loaded()`);
    t.ok(forSwap <= 20 * objects, `${forSwap} visits for a swap`);
  },
);
