import { copyFileSync, readFileSync, renameSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Definitions, SoHandle, type SwapOptions, type SwapOrder } from 'soswap';
import * as dl from 'soswap/dl';
import t from 'tap';
import { compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { Gate, logOf } from '../fixtures/gate.js';
import { until } from '../fixtures/until.js';

const directory = t.testdir();
const builds = twoBuilds(directory, 'gate.c');
const definitions = {
  caller: { return: 'int32' },
  count: { return: 'int32' },
  pass: { arguments: ['pointer'], return: 'int32', nonblocking: true },
  version: { return: 'string' },
} as const satisfies Definitions;
type Handle = SoHandle<typeof definitions>;
const orders: SwapOrder[] = ['close-first', 'open-first'];
const busy = { name: 'SoError', code: 'ERR_SOSWAP_BUSY', rolledBack: false };

/** Begins a swap, and resolves when all that comes before the transaction is done. */
async function begin(so: Handle, options: SwapOptions<typeof definitions> = {}) {
  let verified = false;
  const verify = () => {
    verified = true;
  };
  const swap = so.swap({ timeout: 60_000, ...options, verify });
  swap.catch(() => {}); // it may reject before the test comes to look
  await until('the candidate is verified', () => verified);
  await nextTurn();
  return { swap };
}

for (const how of ['swapSync', 'swap'] as const) {
  t.test(`${how}(): constructors and destructors run in the order asked for`, async (t) => {
    const cwd = t.testdir();
    for (const [order, expected] of [
      ['close-first', ['end 1111', 'begin 2222']],
      ['open-first', ['begin 2222', 'end 1111']],
    ] as const) {
      const { so: path, two } = copyBuilds(builds, cwd);
      const so = SoHandle.open(path, definitions);
      renameSync(two, path);
      t.same(await logOf(`${cwd}/${order}`, async () => so[how]({ order })), expected);
      so.close();
    }
  });
}

t.test('close-first waits for calls in flight', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  const gate = new Gate();
  const ends: string[] = [];
  const call = so.functions.pass(gate.words).finally(() => ends.push('call'));
  await gate.arrival();
  renameSync(two, path);
  const { swap } = await begin(so);
  swap.finally(() => ends.push('swap'));
  t.same([so.functions.version(), so.functions.count(), so.generation], ['build 1111', 1, 1]);
  gate.open();
  t.equal(await call, 1111);
  t.match(await swap, { generation: 2, unmapped: true });
  t.same(ends, ['call', 'swap']);
  t.same([so.functions.version(), so.functions.count()], ['build 2222', 1]);
  so.close();
});

t.test('calls made while close-first waits run in the new image', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  const { pass } = so.functions;
  const [before, meanwhile] = [new Gate(), new Gate()];
  const early = pass(before.words);
  await before.arrival();
  renameSync(two, path);
  const { swap } = await begin(so);
  const late = [pass(meanwhile.words), pass(meanwhile.words)];
  meanwhile.open();
  before.open();
  t.equal(await early, 1111);
  t.equal((await swap).generation, 2);
  t.same(await Promise.all(late), [2222, 2222]);
  t.equal(meanwhile.arrived, 2);
  so.close();
});

t.test('no calls begin while close-first waits', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  const [first, second] = [new Gate(), new Gate()];
  const early = so.functions.pass(first.words);
  await first.arrival();
  const { swap } = await begin(so);
  second.open();
  const late = so.functions.pass(second.words);
  first.open();
  await early;
  t.equal(second.arrived, 0);
  await swap;
  await late;
  so.close();
});

for (const [calls, what] of [
  [1, 'a call'],
  [9, 'more calls than the pool has threads'],
] as const) {
  t.test(`close-first gives up after its timeout with ${what} in flight`, async (t) => {
    const { so: path, two } = copyBuilds(builds, t.testdir());
    const so = SoHandle.open(path, definitions);
    const { count, pass } = so.functions;
    const gate = new Gate();
    count();
    const running = Array.from({ length: calls }, () => pass(gate.words));
    await gate.arrival();
    renameSync(two, path);
    await t.rejects(so.swap({ timeout: 0 }), busy);
    await t.rejects(so.swap({ timeout: 20 }), busy);
    t.same([so.functions.version(), count(), so.generation], ['build 1111', 2, 1]);
    running.push(pass(gate.words));
    gate.open();
    t.same(new Set(await Promise.all(running)), new Set([1111]));
    t.equal((await so.swap({ timeout: 2 ** 40 })).generation, 2);
    t.equal(so.functions.version(), 'build 2222');
    so.close();
  });
}

t.test('a timeout of many years does not run out at once', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const [patient, hasty] = [SoHandle.open(path, definitions), SoHandle.open(path, definitions)];
  const gate = new Gate();
  const calls = [patient, hasty].map((so) => so.functions.pass(gate.words));
  await gate.arrival(2);
  const { swap } = await begin(patient, { timeout: 2 ** 40 });
  // A timer that is too long for Node would fire after 1 ms: before this one.
  await t.rejects(hasty.swap({ timeout: 20 }), busy);
  gate.open();
  await Promise.all(calls);
  t.equal((await swap).generation, 2);
  for (const so of [patient, hasty]) so.close();
});

t.test('calls that waited for a swap which gave up run in the old image', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  const { count, pass } = so.functions;
  count();
  const [before, meanwhile] = [new Gate(), new Gate()];
  const early = pass(before.words);
  await before.arrival();
  renameSync(two, path);
  const { swap } = await begin(so, { timeout: 50 });
  meanwhile.open();
  const late = pass(meanwhile.words);
  await t.rejects(swap, busy);
  t.equal(await late, 1111);
  before.open();
  t.equal(await early, 1111);
  t.equal(count(), 2);
  so.close();
});

t.test('calls that waited for a swap which was rolled back run in the old code', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  const before = new Gate();
  const early = so.functions.pass(before.words);
  await before.arrival();
  compile('gate.c', `${path}.new`, '-DLINE=2222', '-DWITH_STATIC_TLS');
  renameSync(`${path}.new`, path);
  const swap = so.swap({ timeout: 60_000 });
  // Nobody tells when the swap begins to wait. Then a call waits too, and one that another handle makes after it does not.
  const other = SoHandle.open(builds.one, definitions);
  const late: Promise<number>[] = [];
  await until('a call waits for the swap', async () => {
    const [gate, later] = [new Gate(), new Gate()];
    gate.open();
    later.open();
    late.push(so.functions.pass(gate.words));
    await other.functions.pass(later.words);
    return gate.arrived === 0;
  });
  before.open();
  t.equal(await early, 1111);
  await t.rejects(swap, { code: 'ERR_SOSWAP_LOADER', rolledBack: true });
  for (const line of await Promise.all(late)) t.equal(line, 1111);
  so.close();
  other.close();
});

t.test('open-first: new calls go to the new image at once, old ones run on', async (t) => {
  const cwd = t.testdir();
  const { so: path, two } = copyBuilds(builds, cwd);
  const so = SoHandle.open(path, definitions);
  const { count, pass, version } = so.functions;
  count();
  const gates = Array.from({ length: 9 }, () => new Gate()); // more than the pool has threads
  const early = gates.map((gate) => pass(gate.words));
  await gates[0]!.arrival();
  renameSync(two, path);
  const log = await logOf(`${cwd}/log`, async () => {
    const swap = so.swap({ order: 'open-first' });
    await until('the new image takes the calls', () => so.generation === 2);
    t.same([version(), count()], ['build 2222', 1]);
    for (const gate of gates.slice(1)) gate.open();
    t.same(new Set(await Promise.all(early.slice(1))), new Set([1111]));

    const free = new Gate();
    free.open();
    t.equal(await pass(free.words), 2222);
    t.same(readFileSync(`${cwd}/log`, 'utf8'), 'begin 2222\n', 'the old image is there');
    gates[0]!.open();
    t.equal(await early[0], 1111);
    t.match(await swap, { generation: 2, unmapped: true, retained: [] });
  });
  t.same(log, ['begin 2222', 'end 1111']);
  so.close();
});

t.test('swapSync() refuses at once while a call is in flight', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  const gate = new Gate();
  so.functions.count();
  const call = so.functions.pass(gate.words);
  renameSync(two, path);
  for (const order of orders) t.throws(() => so.swapSync({ order }), busy);
  t.same([so.functions.version(), so.functions.count()], ['build 1111', 2]);
  gate.open();
  t.equal(await call, 1111);
  t.equal(so.swapSync().generation, 2);
  so.close();
});

t.test('swapSync() refuses while a swap() verifies its candidate', async (t) => {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  copyFileSync(two, path);
  let accept: () => void = () => {};
  const verdict = new Promise<void>((resolve) => {
    accept = resolve;
  });
  let verifying = false;
  const swap = so.swap({
    verify: () => {
      verifying = true;
      return verdict;
    },
  });
  await until('the candidate is being verified', () => verifying);
  copyFileSync(one, path);
  t.throws(() => so.swapSync(), busy);
  accept();
  t.equal((await swap).generation, 2);
  t.equal(so.functions.version(), 'build 2222');
  t.equal(so.swapSync().generation, 3);
  t.equal(so.functions.version(), 'build 1111');
  so.close();
});

t.test('a swap cannot be begun by the verify() of another', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  const nested = { verify: () => void so.swapSync() };
  const refused = { code: 'ERR_SOSWAP_VERIFY', cause: busy };
  t.throws(() => so.swapSync(nested), refused);
  await t.rejects(so.swap(nested), refused);
  t.equal(so.generation, 1);
  so.close();
});

t.test('swaps line up, and each takes the file that is there when its turn comes', async (t) => {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  const gate = new Gate();
  const call = so.functions.pass(gate.words);
  await gate.arrival();
  copyFileSync(two, path);
  const { swap } = await begin(so);
  const next = so.swap();
  copyFileSync(one, path);
  gate.open();
  t.equal(await call, 1111);
  t.match(await swap, { generation: 2, previous: { generation: 1 } });
  t.match(await next, { generation: 3, previous: { generation: 2 } });
  t.equal(so.functions.version(), 'build 1111');
  so.close();
});

t.test('close() refuses while a call is in flight, also below a waiting swap', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  const gate = new Gate();
  const call = so.functions.pass(gate.words);
  await gate.arrival();
  t.throws(() => so.close(), busy);
  renameSync(two, path);
  const { swap } = await begin(so);
  t.throws(() => so.close(), busy);
  t.notOk(so.closed);
  gate.open();
  t.equal(await call, 1111);
  t.equal((await swap).generation, 2);
  so.close();
});

t.test('a nonblocking function whose symbol is gone rejects until it is back', async (t) => {
  const cwd = t.testdir();
  const { so: path, one } = copyBuilds(builds, cwd);
  const plain = compile('action.c', `${cwd}/plain.so`, '-DLINE=2222');
  const so = SoHandle.open(path, { pass: { ...definitions.pass, optional: true } });
  const gate = new Gate();
  gate.open();
  const { pass } = so.functions;
  copyFileSync(plain, path);
  t.same((await so.swap()).missing, ['pass']);
  await t.rejects(pass!(gate.words), { code: 'ERR_SOSWAP_MISSING_SYMBOL', symbol: 'pass' });
  t.equal(gate.arrived, 0);
  copyFileSync(one, path);
  t.same((await so.swap()).missing, []);
  t.equal(await pass!(gate.words), 1111);
  so.close();
});

t.test("scope: 'global': new code binds to its own symbols beside the old image", async (t) => {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  // What happens with dlopen(3): both are global, and the older one answers.
  const flags = dl.constants.RTLD_NOW | dl.constants.RTLD_GLOBAL;
  const handles = [dl.dlopen(one, flags), dl.dlopen(two, flags)];
  const callerOf = (handle: bigint) =>
    dl.functionAt(dl.dlsym(handle, 'caller'), { return: 'int32' });
  t.same(
    handles.map(callerOf).map((caller) => caller()),
    [1111, 1111],
  );
  for (const handle of handles) dl.dlclose(handle);

  const so = SoHandle.open(path, definitions, { scope: 'global' });
  const { caller, pass } = so.functions;
  t.equal(caller(), 1111);
  const gate = new Gate();
  const early = pass(gate.words);
  renameSync(two, path);
  const swap = so.swap({ order: 'open-first' });
  await until('the new image takes the calls', () => so.generation === 2);
  t.equal(caller(), 2222, 'while a call runs in the old one');
  gate.open();
  t.equal(await early, 1111);
  t.ok((await swap).unmapped);

  copyFileSync(one, path);
  t.match(so.swapSync({ unload: 'never' }), { unmapped: false });
  t.equal(caller(), 1111, 'while an old one is retained');
  so.close();
});

t.test(
  'without its previous image a handle has none, and the next swap gives it one',
  async (t) => {
    const directory = t.testdir();
    const below = compile('below.c', `${directory}/libbelow.so`, '-DNUMBER=1');
    const path = compile(
      'above.c',
      `${directory}/so.so`,
      '-DNUMBER=10',
      ...[`-L${directory}`, '-lbelow', '-Wl,--disable-new-dtags,-rpath,$ORIGIN'],
    );
    const so = SoHandle.open(path, { above: { return: 'int32' }, action: { optional: true } });
    const { above } = so.functions;
    t.equal(above(), 11);
    renameSync(below, `${below}.away`); // the candidate does without it, the previous image does not
    const flags = ['-DLINE=2222', '-Dlarge_at=above'];
    compile('static-tls.c', `${path}.new`, ...flags);
    renameSync(`${path}.new`, path);
    t.throws(() => so.swapSync(), {
      code: 'ERR_SOSWAP_LOADER',
      rolledBack: false,
      message: /libbelow\.so/,
    });

    const notLoaded = { name: 'SoError', code: 'ERR_SOSWAP_NOT_LOADED' };
    t.throws(() => above(), notLoaded);
    t.throws(() => so.getSymbol('above'), notLoaded);
    t.throws(() => so.getFunction('above', { return: 'int32' }), notLoaded);
    t.equal(so.closed, false);

    renameSync(`${below}.away`, below);
    compile('above.c', path, '-DNUMBER=20', `-L${directory}`, '-lbelow', '-Wl,-rpath,$ORIGIN');
    const { generation, unmapped } = await so.swap();
    t.same([generation, unmapped, above()], [2, true, 21]);
    so.close();
  },
);
