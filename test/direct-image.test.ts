import { copyFileSync, linkSync, renameSync } from 'node:fs';
import { SoHandle } from 'soswap';
import * as dl from 'soswap/dl';
import t from 'tap';
import { compile, compileAction, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, root, runProgram } from '../fixtures/child.js';

const directory = t.testdir();
const builds = twoBuilds(directory);
const definitions = { count: { return: 'int32' }, version: { return: 'string' } } as const;
const stillLoaded = { name: 'SoError', code: 'ERR_SOSWAP_STILL_LOADED' };

/** Puts a copy of `file` into the place of `path`, as a new file. */
function replace(path: string, file: string): void {
  copyFileSync(file, `${path}.new`);
  renameSync(`${path}.new`, path);
}

t.test("image: 'direct': code that somebody else has open is not swapped", async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions, { image: 'direct' });
  const { count, version } = so.functions;
  count();
  const handle = dl.dlopen(path);
  replace(path, two);
  const refused = { ...stillLoaded, path };
  t.throws(() => so.swapSync(), refused);
  await t.rejects(so.swap(), refused);
  t.same([so.generation, version(), count()], [1, 'build 1111', 2], 'nothing changed');
  dl.dlclose(handle);
  t.match(so.swapSync(), { generation: 2, unmapped: true });
  t.same([version(), count()], ['build 2222', 1]);
  so.close();
});

t.test("image: 'snapshot': other code that has the file open keeps nothing", async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const handle = dl.dlopen(path);
  const so = SoHandle.open(path, definitions);
  t.not(so.getSymbol('version'), dl.dlsym(handle, 'version'), 'an image of its own');
  replace(path, two);
  t.match(so.swapSync(), { unmapped: true });
  t.equal(so.functions.version(), 'build 2222');
  const old = dl.functionAt(dl.dlsym(handle, 'version'), { return: 'string' });
  t.equal(old(), 'build 1111');
  dl.dlclose(handle);
  so.close();
});

for (const [what, source, flags, message] of [
  ['an image that is linked with -z nodelete', 'action.c', ['-Wl,-z,nodelete'], /-z nodelete/],
  ['an image with a unique symbol', 'retain/unique-symbol.cc', [], /Counter/],
  ['an image that may run threads', 'retain/thread.c', [], /pthread_create/],
  ['an image with a destructor to run', 'retain/thread-local.cc', [], /thread_local/],
] as const) {
  t.test(`image: 'direct': ${what} is not swapped`, async (t) => {
    const path = `${t.testdir()}/so.so`;
    compile(source, path, '-DLINE=1111', ...flags);
    const so = SoHandle.open(path, definitions, { image: 'direct' });
    so.functions.count();
    renameSync(compile(source, `${path}.new`, '-DLINE=2222', ...flags), path);
    t.throws(() => so.swapSync(), { ...stillLoaded, message });
    await t.rejects(so.swap(), { ...stillLoaded, message });
    t.same([so.functions.version(), so.functions.count()], ['build 1111', 2]);
    so.close();
  });
}

t.test("image: 'direct': NODELETE stays in the file, whatever unload says", async (t) => {
  const path = compileAction(`${t.testdir()}/so.so`, 1111, '-Wl,-z,nodelete');
  const so = SoHandle.open(path, definitions, { image: 'direct', unload: 'always' });
  replace(path, builds.two);
  t.throws(() => so.swapSync(), stillLoaded);
  t.equal(so.functions.version(), 'build 1111');
  so.close();
});

t.test("image: 'direct': a path whose older image is loaded does not open", async (t) => {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  const first = SoHandle.open(path, definitions, { image: 'direct' });
  const second = SoHandle.open(path, definitions, { image: 'direct' });
  t.same([first.functions.count(), second.functions.count()], [1, 2], 'one image for both');
  replace(path, two);
  t.throws(() => SoHandle.open(path, definitions, { image: 'direct' }), stillLoaded);
  t.throws(() => first.swapSync(), stillLoaded);
  second.close();
  t.equal(first.swapSync().generation, 2);
  t.equal(first.functions.version(), 'build 2222');
  first.close();

  const handle = dl.dlopen(path);
  replace(path, one);
  t.throws(() => SoHandle.open(path, definitions, { image: 'direct' }), stillLoaded);
  dl.dlclose(handle);
  const third = SoHandle.open(path, definitions, { image: 'direct' });
  t.equal(third.functions.version(), 'build 1111');
  third.close();
});

t.test("image: 'direct': both images cannot be there at once", async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions, { image: 'direct' });
  replace(path, two);
  t.throws(() => so.swapSync({ order: 'open-first' }), stillLoaded);
  t.equal(so.functions.version(), 'build 1111');
  so.close();
});

t.test(
  "image: 'direct': the loader refuses a candidate, and the old code is loaded again",
  async (t) => {
    const { so: path, two } = copyBuilds(builds, t.testdir());
    const so = SoHandle.open(path, definitions, { image: 'direct' });
    renameSync(compile('static-tls.c', `${path}.new`, '-DLINE=2222'), path);
    t.throws(() => so.swapSync(), { code: 'ERR_SOSWAP_LOADER', rolledBack: true });
    t.equal(so.functions.version(), 'build 1111');
    renameSync(two, path);
    so.swapSync();
    t.equal(so.functions.version(), 'build 2222');
    so.close();
  },
);

for (const order of ['close-first', 'open-first'] as const) {
  for (const how of ['swap', 'swapSync'] as const) {
    t.test(`image: 'direct', ${how}(), ${order}: what was not checked does not run`, async (t) => {
      const { so: path, two } = copyBuilds(builds, t.testdir());
      const so = SoHandle.open(path, definitions, { image: 'direct' });
      so.functions.count();
      replace(path, two);
      const verify = () => replace(path, compileAction(`${path}.3`, 1111, '-DTHIRD'));
      const refused =
        order === 'open-first' ? stillLoaded : { code: 'ERR_SOSWAP_BEING_WRITTEN', path };
      await t.rejects(async () => so[how]({ order, verify }), { ...refused, outcome: 'unchanged' });
      t.same([so.functions.version(), so.functions.count()], ['build 1111', 2]);
      const link = () => linkSync(path, `${path}.link.${how}`);
      replace(path, two);
      if (order === 'close-first') {
        t.equal((await so[how]({ verify: link })).generation, 2, 'a new link is no change');
        t.equal(so.functions.version(), 'build 2222');
      }
      so.close();
    });
  }
}

t.test("image: 'direct': a file that is replaced while it is loaded is refused", async (t) => {
  const cwd = t.testdir();
  const path = `${cwd}/so.so`;
  const begin = `BEGIN=rename("${path}.new", "${path}")`;
  renameSync(compile('begins.c', `${cwd}/first.so`, '-DLINE=1111', `-D${begin}`), path);
  copyFileSync(builds.two, `${path}.new`);
  const options = { image: 'direct' } as const;
  const changed = { code: 'ERR_SOSWAP_BEING_WRITTEN', path, message: /replaced/ };
  t.throws(() => SoHandle.open(path, definitions, options), changed);
  const so = SoHandle.open(path, definitions, options);
  t.equal(so.functions.version(), 'build 2222', 'nothing of the first file stays');
  so.close();
});

t.test("image: 'direct': an image that an ended thread has left is not in the way", async (t) => {
  const path = `${t.testdir()}/so.so`;
  compile('retain/thread-local.cc', path, '-DLINE=1111');
  const program = `
    import { once } from 'node:events';
    import { renameSync } from 'node:fs';
    import { Worker } from 'node:worker_threads';
    import { loaded, SoHandle } from 'soswap';
    const path = ${JSON.stringify(path)};
    const definitions = { count: { return: 'int32' }, version: { return: 'string' } };
    const worker = new Worker(\`
      const { SoHandle } = await import('soswap');
      const { parentPort } = await import('node:worker_threads');
      const so = SoHandle.open(\${JSON.stringify(path)}, { count: { return: 'int32' } }, { image: 'direct' });
      so.functions.count();
      so.close();
      parentPort.once('message', () => {});
      parentPort.postMessage(0);
    \`, { eval: true });
    await once(worker, 'message');
    renameSync(path + '.new', path);
    try {
      SoHandle.open(path, definitions, { image: 'direct' });
    } catch ({ code }) {
      console.log(code);
    }
    worker.postMessage(0);
    await once(worker, 'exit');
    const so = SoHandle.open(path, definitions, { image: 'direct' });
    console.log(so.functions.version(), so.functions.count());
    so.close();`;
  compile('retain/thread-local.cc', `${path}.new`, '-DLINE=2222');
  const stdout = 'ERR_SOSWAP_STILL_LOADED\nbuild 2222 1\n';
  t.match(await runProgram(program, { cwd: root }), { ...exitedCleanly, stdout });
});
