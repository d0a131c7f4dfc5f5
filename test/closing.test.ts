import { copyFileSync, existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { loaded, SoHandle } from 'soswap';
import t from 'tap';
import { twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';
import { Gate } from '../fixtures/gate.js';
import { beginning } from '../fixtures/quarantine.js';
import { until } from '../fixtures/until.js';

const directory = t.testdir();
const { so: path } = twoBuilds(directory, 'gate.c');
const definitions = {
  count: { return: 'int32' },
  pass: { arguments: ['pointer'], return: 'int32', nonblocking: true },
} as const;
const closed = { name: 'SoError', code: 'ERR_SOSWAP_CLOSED', path };
const busy = { name: 'SoError', code: 'ERR_SOSWAP_BUSY', path };
const never = () => new Promise<void>(() => {});

/** Fails where only a timeout would have settled it. */
function promptly<T>(work: Promise<T>): Promise<T> {
  const late = sleep(4000, undefined, { ref: false }).then(() => {
    throw new Error('it took too long');
  });
  return Promise.race([work, late]);
}

/** A handle with a call in flight. */
async function calling() {
  const so = SoHandle.open(path, definitions);
  const gate = new Gate();
  const call = so.functions.pass(gate.words);
  await gate.arrival();
  return { so, gate, call };
}

t.test('closeAsync() waits for the calls in flight, and refuses those that come', async (t) => {
  const { so, gate, call } = await calling();
  const closings = [so.closeAsync(), so.closeAsync({ timeout: 60_000 })];
  const late = so.functions.pass(gate.words);
  t.equal(so.functions.count(), 1, 'it is open meanwhile');
  t.throws(() => so.close(), busy);
  gate.open();
  t.equal(await call, 1111);
  await t.rejects(late, closed);
  t.same(await Promise.all(closings), Array(2).fill({ unmapped: true, retained: [] }));
  t.equal(so.closed, true);
  t.same(await so.closeAsync(), { unmapped: true, retained: [] }, 'it is closed already');
  t.same(loaded(), []);
});

t.test('closeAsync() gives up after its timeout, and leaves the handle as it was', async (t) => {
  const { so, gate, call } = await calling();
  const closing = so.closeAsync({ timeout: 50 });
  const waiting = so.functions.pass(gate.words);
  await t.rejects(closing, busy);
  await gate.arrival(2);
  gate.open();
  t.same(await Promise.all([call, waiting]), [1111, 1111]);
  t.equal((await so.swap()).generation, 2);
  await t.rejects(so.closeAsync({ timout: 1 } as object), { code: 'ERR_INVALID_ARG_VALUE' });
  await t.rejects(so.closeAsync({ timeout: -1 }), { code: 'ERR_OUT_OF_RANGE' });
  t.match(await so.closeAsync({ timeout: 0 }), { unmapped: true });
});

t.test('await using drains and closes', async (t) => {
  const { so, gate, call } = await calling();
  const block = async () => {
    await using handle = so;
    t.equal(handle.closed, false);
  };
  const left = block();
  gate.open();
  await Promise.all([left, call]);
  t.equal(so.closed, true);
});

t.test('a swap and closeAsync() that wait for the same calls both end', async (t) => {
  const { so, gate, call } = await calling();
  const swap = so.swap().then(
    ({ generation }) => generation,
    ({ code }) => code,
  );
  const closing = so.closeAsync();
  gate.open();
  await call;
  t.match(await promptly(closing), { unmapped: true });
  t.match(`${await swap}`, /^(2|ERR_SOSWAP_CLOSED)$/);
  t.same(loaded(), []);
});

t.test('close() settles every pending swap at once', async (t) => {
  const so = SoHandle.open(path, definitions);
  const refusals: string[] = [];
  so.on('refused', ({ code }) => refusals.push(code));
  let judged = false;
  const verify = () => {
    judged = true;
    return never();
  };
  const swaps = [so.swap({ verify }), so.swap(), so.swap({ signal: AbortSignal.timeout(60_000) })];
  await until('the judgement has begun', () => judged);
  const settled = Promise.allSettled(swaps);
  so.close();
  const results = await promptly(settled);
  t.match(results, Array(3).fill({ status: 'rejected', reason: closed }));
  t.same(refusals, Array(3).fill('ERR_SOSWAP_CLOSED'));
  await until('the candidate is gone too', () => loaded().length === 0);
});

t.test('close() settles a swap whose quarantine hangs', async (t) => {
  const copy = `${directory}/copy.so`;
  copyFileSync(path, copy);
  const so = SoHandle.open(copy);
  copyFileSync(beginning(directory)('tell_pid(); for (;;) pause()'), copy);
  const pids = `${directory}/pids`;
  process.env.SOSWAP_TEST_PID = pids;
  const swap = so.swap({ quarantine: { timeout: 5000 } });
  await until('the child hangs', () => existsSync(pids));
  delete process.env.SOSWAP_TEST_PID;
  so.close();
  await t.rejects(promptly(swap), { code: 'ERR_SOSWAP_CLOSED' });
});

t.test('a swap that has taken effect reports so, although the handle is closed', async (t) => {
  const { so, gate, call } = await calling();
  const swapped = new Promise((resolve) => {
    const look = () => (so.generation === 2 ? resolve(undefined) : setImmediate(look));
    look();
  });
  const swap = so.swap({ order: 'open-first' });
  await swapped;
  so.close();
  const report = await promptly(swap);
  t.match(report, { generation: 2, unmapped: false, retained: [{ code: 'calls-in-flight' }] });
  gate.open();
  await call;
  await until('all is gone', () => loaded().length === 0);
});

t.test('a verify() that never settles is bounded by the timeout', async (t) => {
  const so = SoHandle.open(path, definitions);
  const swap = so.swap({ verify: never, timeout: 100 });
  await t.rejects(promptly(swap), { code: 'ERR_SOSWAP_VERIFY' });
  t.equal((await so.swap()).generation, 2);
  so.close();
});

t.test('a closed handle keeps no process alive', async (t) => {
  const program = `
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('${path}');
    const swap = so.swap({ verify: () => { setImmediate(() => so.close()); return new Promise(() => {}); }, timeout: 1e9 });
    await swap.catch(({ code }) => process.send(code));
  `;
  const ended = await runProgram(program, { cwd: directory });
  t.match(ended, { ...exitedCleanly, messages: ['ERR_SOSWAP_CLOSED'] });
});
