import { once } from 'node:events';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { limitRetained, loaded, type OpenOptions, SoHandle } from 'soswap';
import * as dl from 'soswap/dl';
import t from 'tap';
import { compile, compileAction, copyBuilds, twoBuilds } from '../fixtures/build.js';

const directory = t.testdir();
const plain = twoBuilds(directory);
const nodelete = '-Wl,-z,nodelete';
const staying = {
  one: compileAction(`${directory}/staying1.so`, 1111, nodelete),
  two: compileAction(`${directory}/staying2.so`, 2222, nodelete),
  so: plain.so,
};
const definitions = { count: { return: 'int32' }, version: { return: 'string' } } as const;
const limit = { name: 'SoError', code: 'ERR_SOSWAP_RETAINED_LIMIT', rolledBack: false };

function open(path: string, maxRetained: OpenOptions['maxRetained']) {
  return SoHandle.open(path, definitions, { maxRetained: maxRetained! });
}

t.test('no more old images stay than maxRetained.images allows', async (t) => {
  const { so: path, two } = copyBuilds(staying, t.testdir());
  const so = open(path, { images: 2 });
  t.match(so.swapSync(), { unmapped: false, retained: [{ code: 'nodelete' }] });
  t.match(await so.swap(), { unmapped: false });
  t.equal(so.functions.count(), 1);

  copyFileSync(two, path);
  for (const order of ['close-first', 'open-first'] as const) {
    t.throws(() => so.swapSync({ order }), { ...limit, path });
    await t.rejects(so.swap({ order }), limit);
  }
  t.same([so.generation, so.functions.version(), so.functions.count()], [3, 'build 1111', 2]);
  so.close();
});

t.test('no more bytes of old images stay than maxRetained.bytes allows', async (t) => {
  const { so: path } = copyBuilds(staying, t.testdir());
  const so = open(path, { bytes: 50_000 });
  // Each takes a few pages, and less than 50,000 bytes.
  let swaps = 0;
  t.throws(() => {
    for (; swaps < 100; swaps++) so.swapSync();
  }, limit);
  t.ok(swaps >= 1 && swaps < 20, `${swaps} swaps`);
  t.equal(so.generation, 1 + swaps);
  so.close();
});

t.test('the bytes are those of the private copies and of what was written', async (t) => {
  const path = compile('retain/static-data.c', join(t.testdir(), 'so.so'), '-g3');
  const so = SoHandle.open(path, { fill: { return: 'int32' } }, { maxRetained: { bytes: 3e6 } });
  const info = () => loaded().filter((image) => image.path === path);
  const [before] = info();
  t.equal(before?.copySize, so.image?.copySize);
  t.ok(before!.copySize >= 3 * 4096 && before!.copySize < before!.size, `${before?.copySize}`);
  t.ok(before!.writtenSize >= 4096 && before!.writtenSize < 100_000, `${before?.writtenSize}`);
  t.ok(before!.memorySize > 2 ** 20);

  // Address space alone would allow two of them.
  for (let round = 0; round < 10; round++) so.swapSync({ unload: 'never' });
  t.equal(info().length, 11);
  t.equal(so.functions.fill(), 1);
  t.ok(info()[10]!.writtenSize >= 2 ** 20);
  so.swapSync({ unload: 'never' });
  so.functions.fill();
  so.swapSync({ unload: 'never' });
  so.functions.fill();
  t.throws(() => so.swapSync({ unload: 'never' }), limit);
  t.ok(so.swapSync().unmapped);
  so.close();
});

t.test('maxRetained does not count images that are unmapped', async (t) => {
  const { so: path } = copyBuilds(plain, t.testdir());
  for (const maxRetained of [{ images: 0 }, { bytes: 0 }, { images: 0, bytes: 0 }]) {
    const so = open(path, maxRetained);
    for (let round = 0; round < 3; round++) t.ok(so.swapSync().unmapped);
    t.throws(() => so.swapSync({ unload: 'never' }), limit);
    t.ok((await so.swap()).unmapped);
    so.close();
  }
});

t.test('maxRetained counts for each handle by itself', async (t) => {
  const { so: path } = copyBuilds(staying, t.testdir());
  const [first, second] = [open(path, { images: 1 }), open(path, { images: 1 })];
  first.swapSync();
  t.throws(() => first.swapSync(), limit);
  t.equal(second.swapSync().generation, 2);
  first.close();
  second.close();
});

t.test('unload: always does not exceed maxRetained', async (t) => {
  const cwd = t.testdir();
  const { so: path } = copyBuilds(plain, cwd);
  compileAction(path, 1111, '-Wl,-soname,libalways-limit.so.1');
  const needing = compile('retain/needing.c', `${cwd}/needing.so`, path);
  const so = open(path, { images: 0 });
  t.ok(so.swapSync({ unload: 'always' }).unmapped);
  const handle = dl.dlopen(needing);
  for (const order of ['close-first', 'open-first'] as const) {
    t.throws(() => so.swapSync({ unload: 'always', order }), limit);
  }
  t.equal(so.generation, 2);
  dl.dlclose(handle);
  t.ok(so.swapSync({ unload: 'always' }).unmapped);
  so.close();
});

t.test('limitRetained counts for the process, closed handles included', async (t) => {
  const before = limitRetained();
  t.same(before, { images: 4000, bytes: 2 ** 32 });
  t.teardown(() => limitRetained(before));
  const retained = loaded().filter(({ state }) => state === 'retained').length;
  t.same(limitRetained({ images: retained + 2 }), { ...before, images: retained + 2 });
  t.same(limitRetained(), { ...before, images: retained + 2 });

  const { so: path } = copyBuilds(plain, t.testdir());
  const openAndClose = () => SoHandle.open(path, {}, { unload: 'never' }).close();
  openAndClose();
  openAndClose();
  t.throws(openAndClose, { ...limit, path, message: /^cannot open .*limitRetained/ });
  t.throws(() => SoHandle.open(path), limit, 'images of it have stayed');
  using other = SoHandle.open(plain.two, definitions);
  t.ok(other.swapSync().unmapped, 'others can be opened and swapped');
  t.throws(() => other.swapSync({ unload: 'never' }), { ...limit, message: /limitRetained/ });
  t.throws(() => SoHandle.open(staying.one), limit);

  // The count is that of the process.
  const program = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.soswap).then(({ limitRetained, SoHandle }) => {
      const open = () => SoHandle.open(workerData.path, {}, { unload: 'never' }).close();
      const codes = [];
      try { open(); } catch ({ code }) { codes.push(code); }
      limitRetained({ images: ${retained + 3} });
      open();
      try { open(); } catch ({ code }) { codes.push(code); }
      parentPort.postMessage(codes);
    });
  `;
  const workerData = { path, soswap: import.meta.resolve('soswap') };
  const worker = new Worker(program, { eval: true, workerData, execArgv: [], env: {} });
  const [codes] = await once(worker, 'message');
  t.same(codes, [limit.code, limit.code]);
  await once(worker, 'exit');
  t.equal(limitRetained().images, retained + 3);

  limitRetained({ images: retained + 100, bytes: 1 });
  t.throws(openAndClose, { ...limit, message: /1 bytes/ });
  for (const wrong of [{ images: -1 }, { bytes: Number.NaN }, { images: '3' }, 5, null, []]) {
    t.throws(() => limitRetained(wrong as never), { code: 'ERR_INVALID_ARG_TYPE' });
  }
});

t.test('an old image that goes later makes room', async (t) => {
  const cwd = t.testdir();
  const { so: path } = copyBuilds(plain, cwd);
  compileAction(path, 1111, '-Wl,-soname,libretained-limit.so.1');
  const needing = compile('retain/needing.c', `${cwd}/needing.so`, path);
  const so = open(path, { images: 1 });
  const handle = dl.dlopen(needing);
  t.match(so.swapSync(), { unmapped: false, retained: [{ code: 'needed-by' }] });
  t.ok(so.swapSync().unmapped, 'nothing needs the second generation');
  t.throws(() => so.swapSync({ unload: 'never' }), limit);
  dl.dlclose(handle);
  t.match(so.swapSync({ unload: 'never' }), { unmapped: false });
  so.close();
});

t.test('images of refused candidates count when they stay', async (t) => {
  const { so: path } = copyBuilds(staying, t.testdir());
  const so = open(path, { images: 3 });
  const verify = () => false;
  for (let round = 0; round < 3; round++) {
    t.throws(() => so.swapSync({ verify }), { code: 'ERR_SOSWAP_VERIFY' });
  }
  t.throws(() => so.swapSync({ verify }), limit);
  t.throws(() => so.swapSync(), limit);
  t.equal(so.generation, 1);
  so.close();
});

t.test('wrong limits are refused', async (t) => {
  for (const wrong of [{ images: -1 }, { bytes: Number.NaN }, { images: '3' }, 5, null, []]) {
    t.throws(() => open(plain.so, wrong as never), { code: 'ERR_INVALID_ARG_TYPE' });
  }
});
