import { copyFileSync } from 'node:fs';
import { type OpenOptions, SoHandle } from 'soswap';
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
