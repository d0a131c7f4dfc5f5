import { once } from 'node:events';
import { copyFileSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Definitions,
  install,
  loaded,
  SoHandle,
  type SwapOptions,
  swapOnSignal,
} from 'soswap';
import t, { type Test } from 'tap';
import { compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { Gate } from '../fixtures/gate.js';
import { soon, until } from '../fixtures/until.js';

const directory = t.testdir();
const builds = twoBuilds(directory, 'gate.c');
const loading = compile('loading-thread.c', join(directory, 'loading.so'));
const definitions = {
  pass: { arguments: ['pointer'], return: 'int32', nonblocking: true },
  version: { return: 'string' },
} as const satisfies Definitions;
type Options = SwapOptions<typeof definitions>;
const never = () => new Promise<never>(() => {});

/** A handle that runs the first build, with the second at its path. */
function openOne(t: Test) {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  t.teardown(() => so.close());
  copyFileSync(two, path);
  return { so, one, two };
}

/** A handle with a call in flight in its first image, which waits at the gate. */
async function callOne(t: Test) {
  const opened = openOne(t);
  const gate = new Gate();
  const call = opened.so.functions.pass(gate.words);
  await gate.arrival();
  return { ...opened, gate, call };
}

t.test(
  'open-first leaves an image to a call that does not return, and the next swaps work',
  async (t) => {
    const { so, one, two, gate, call } = await callOne(t);
    const swapped = once(so, 'swap', soon());
    const report = await so.swap({ order: 'open-first', timeout: 50 });
    t.match(report, { generation: 2, unmapped: false, retained: [{ code: 'calls-in-flight' }] });
    t.same(await swapped, [report]);
    t.equal(so.functions.version(), 'build 2222');
    t.match(
      loaded().map(({ retained }) => retained),
      [[{ code: 'calls-in-flight' }], []],
    );

    t.match(so.swapSync(), { generation: 3, unmapped: true });
    t.match(await so.swap(), { generation: 4, unmapped: true });
    using _reload = swapOnSignal('SIGHUP', [so] as never);
    const reloaded = once(so, 'swap', soon());
    await install(one, so.path);
    process.kill(process.pid, 'SIGHUP');
    t.match(await reloaded, [{ generation: 5 }]);
    using _watch = so.watch({ settle: 1 });
    const watched = once(so, 'swap', soon());
    await install(two, so.path);
    t.match(await watched, [{ generation: 6 }]);

    const unmapped = once(so, 'unmapped', soon());
    gate.open();
    t.equal(await call, 1111, 'the call ran to its end in the image that it began in');
    t.match(await unmapped, [{ generation: 1 }]);
    t.match(loaded(), [{ generation: 6, retained: [] }]);
  },
);

t.test('an image that is left to its calls counts as retained', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions, { maxRetained: { images: 0 } });
  const gate = new Gate();
  const call = so.functions.pass(gate.words);
  await gate.arrival();
  copyFileSync(two, path);
  await so.swap({ order: 'open-first', timeout: 0 });
  await t.rejects(so.swap(), { code: 'ERR_SOSWAP_RETAINED_LIMIT' });
  const unmapped = once(so, 'unmapped', soon());
  gate.open();
  await call;
  await unmapped;
  t.equal((await so.swap()).generation, 3);
  so.close();
});

t.test('a closed handle gives up what its calls have left', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  const gate = new Gate();
  const call = so.functions.pass(gate.words);
  await gate.arrival();
  copyFileSync(two, path);
  await so.swap({ order: 'open-first', timeout: 0, unload: 'always' });
  t.match(so.close(), { unmapped: true });
  t.match(loaded(), [{ generation: 1, retained: [{ code: 'calls-in-flight' }] }]);
  gate.open();
  t.equal(await call, 1111);
  await until('the image is gone', () => loaded().length === 0);
});

t.test('verify() may take as long as the timeout', async (t) => {
  const { so } = openOne(t);
  const refused = { code: 'ERR_SOSWAP_VERIFY', message: /1000 ms/, outcome: 'unchanged' };
  await t.rejects(so.swap({ timeout: 50, verify: never }), refused);
  t.same([so.generation, loaded().length], [1, 1]);

  const gate = new Gate();
  let call: Promise<unknown> | undefined;
  const verify: Options['verify'] = ({ pass }) => {
    call = pass(gate.words);
    return gate.arrival();
  };
  await t.rejects(so.swap({ timeout: 50, verify }), {
    code: 'ERR_SOSWAP_VERIFY',
    message: /calls in flight/,
  });
  t.match(loaded(), [{ retained: [] }, { retained: [{ code: 'calls-in-flight' }] }]);
  gate.open();
  t.equal(await call, 2222);
  await until('the tried image is gone', () => loaded().length === 1);
  t.equal((await so.swap()).generation, 2);
});

/** Makes the code of an image of loading-thread.c wait, and says how to let it go on. */
function shut(t: Test, variable: string) {
  const gate = join(t.testdir(), 'gate');
  process.env[variable] = gate;
  t.teardown(() => delete process.env[variable]);
  return {
    arrival: () => until('it has come to the gate', () => existsSync(`${gate}.arrived`)),
    open() {
      writeFileSync(gate, '');
      delete process.env[variable];
    },
  };
}

t.test('a constructor on another thread may take as long as the timeout', async (t) => {
  const path = join(directory, 'constructor.so');
  copyFileSync(loading, path);
  const so = SoHandle.open(path);
  const gate = shut(t, 'SOSWAP_TEST_GATE');
  await t.rejects(so.swap({ order: 'open-first', timeout: 50 }), {
    code: 'ERR_SOSWAP_LOADER',
    message: /constructor/,
    outcome: 'unchanged',
  });
  const other = { code: 'ERR_SOSWAP_BUSY', message: /constructor/ };
  t.throws(() => so.swapSync(), other, 'which would hold this thread');
  await t.rejects(so.swap(), other);
  t.throws(() => SoHandle.open(path), other);
  gate.open();
  await until('the image that came too late is gone', () => loaded().length === 1);
  await until('the loader is free', () => so.swap().then(Boolean, () => false));
  t.same([so.generation, loaded().length], [2, 1]);
  so.close();
});

t.test('a destructor on another thread may take as long as the timeout', async (t) => {
  const path = join(directory, 'destructor.so');
  copyFileSync(loading, path);
  const so = SoHandle.open(path);
  const gate = shut(t, 'SOSWAP_TEST_END_GATE');
  const report = await so.swap({ order: 'open-first', timeout: 50 });
  t.match(report, { generation: 2, unmapped: false, retained: [{ code: 'calls-in-flight' }] });
  const unmapped = once(so, 'unmapped', soon());
  gate.open();
  t.match(await unmapped, [{ generation: 1 }]);
  so.close();
});

const reason = new Error('no longer wanted');

/** What a swap waits for when it is aborted: the options, and what must come before the abort. */
const aborts: [name: string, options: Options, call: boolean][] = [
  ['calls in flight', {}, true],
  ['verify()', { verify: never }, false],
  ['verify() and calls in flight', { verify: never, order: 'open-first' }, true],
];
for (const [name, options, call] of aborts) {
  t.test(`an abort ends the wait for ${name}`, async (t) => {
    const inFlight = call ? await callOne(t) : undefined;
    const { so } = inFlight ?? openOne(t);
    const abort = new AbortController();
    const refused = once(so, 'refused', soon());
    const swap = so.swap({ timeout: 60_000, ...options, signal: abort.signal });
    setTimeout(() => abort.abort(reason), 100);
    const thrown = await swap.catch((error: unknown) => error);
    t.equal(thrown, reason);
    t.match(await refused, [
      { code: 'ERR_SOSWAP_ABORTED', cause: reason, outcome: 'unchanged', path: so.path },
    ]);
    t.same([so.generation, so.functions.version(), loaded().length], [1, 'build 1111', 1]);
    inFlight?.gate.open();
    if (inFlight !== undefined) t.equal(await inFlight.call, 1111);
    t.equal((await so.swap()).generation, 2);
  });
}

t.test('an abort ends the wait for a constructor and for earlier swaps', async (t) => {
  const path = join(directory, 'aborted.so');
  copyFileSync(loading, path);
  const so = SoHandle.open(path);
  const gate = shut(t, 'SOSWAP_TEST_GATE');
  const [first, second] = [new AbortController(), new AbortController()];
  const loadingSwap = so.swap({ order: 'open-first', timeout: 60_000, signal: first.signal });
  const inLine = so.swap({ signal: second.signal });
  await gate.arrival();
  second.abort(reason);
  t.equal(await inLine.catch((error: unknown) => error), reason);
  first.abort();
  await t.rejects(loadingSwap, { name: 'AbortError' });
  gate.open();
  await until('the image that came too late is gone', () => loaded().length === 1);
  await until('the loader is free', () => so.swap().then(Boolean, () => false));
  t.same([so.generation, loaded().length], [2, 1]);
  so.close();
});

t.test('an abort comes too late once the new image runs', async (t) => {
  const { so, gate, call } = await callOne(t);
  const abort = new AbortController();
  const swap = so.swap({ order: 'open-first', signal: abort.signal });
  await until('the new image runs', () => so.generation === 2);
  abort.abort();
  await sleep(20);
  gate.open();
  await call;
  t.match(await swap, { generation: 2, unmapped: true });
});

t.test(
  'a signal that is aborted refuses at once, and a wrong one is an argument error',
  async (t) => {
    const { so } = openOne(t);
    rmSync(so.path);
    await t.rejects(so.swap({ signal: AbortSignal.abort() }), { name: 'AbortError' });
    await t.rejects(so.swap({ signal: {} as never }), { code: 'ERR_INVALID_ARG_TYPE' });
    t.throws(() => so.swapSync({ signal: AbortSignal.abort() }), { code: 'ERR_INVALID_ARG_VALUE' });
  },
);
