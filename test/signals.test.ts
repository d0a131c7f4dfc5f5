import { swapOnSignal } from 'soswap';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, importUntil, runProgram } from '../fixtures/child.js';

const builds = twoBuilds(t.testdir());

/** A program with a handle of so.so, whose events it keeps. */
const begin = `
  import { once } from 'node:events';
  import { copyFileSync } from 'node:fs';
  import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
  import { SoHandle, swapOnSignal } from 'soswap';
  ${importUntil}
  const so = SoHandle.open('./so.so', { version: { return: 'string' } });
  const events = [];
  const count = (so) => {
    so.on('swap', ({ generation }) => events.push(generation));
    so.on('refused', ({ code }) => events.push(code));
  };
  count(so);
  const signal = (name = 'SIGHUP') => process.kill(process.pid, name);
  const told = (number) => until('there are ' + number + ' events', () => events.length >= number);
  // Every swap that a signal has asked for has begun: it is in line before any that is asked for now.
  const begun = async () => {
    await nextTurn();
    await nextTurn();
  };
`;

t.test('a burst of signals gives one swap, after the last', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${begin}
    swapOnSignal('SIGHUP');
    for (let burst = 0; burst < 10; burst++) {
      signal();
      const end = performance.now() + 5;
      while (performance.now() < end);
    }
    copyFileSync('so2.so', 'so.so');
    process.send(so.functions.version()); // nothing happens before the event loop turns
    await told(1);
    process.send(so.functions.version());
    await begun();
    await so.swap();
    process.send(events);
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, exitedCleanly);
  t.same(ended.messages, ['build 1111', 'build 2222', [2, 3]], 'the second is that by hand');
});

t.test('signals that come while it swaps give one more swap', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${begin}
    let swaps = 0;
    so.swap = async () => {
      swaps++;
      if (swaps > 1) return;
      for (let more = 0; more < 5; more++) {
        const heard = once(process, 'SIGHUP');
        signal();
        await heard;
      }
    };
    swapOnSignal('SIGHUP', [so]);
    signal();
    await until('there are two swaps', () => swaps >= 2);
    await begun();
    process.send(swaps);
    signal();
    await until('there are three swaps', () => swaps >= 3);
    await begun();
    process.send(swaps);
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, exitedCleanly);
  t.same(ended.messages, [2, 3]);
});

t.test('disposing of it restores what the signal did before', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${begin}
    const subscription = swapOnSignal('SIGHUP');
    copyFileSync('so2.so', 'so.so');
    signal();
    await told(1);
    process.send(events);
    subscription[Symbol.dispose]();
    subscription[Symbol.dispose]();
    signal();
    await sleep(30_000);
    process.send('it goes on');
  `;
  t.match(await runProgram(program, { cwd }), {
    code: null,
    signal: 'SIGHUP',
    stderr: '',
    messages: [[2]],
  });
});

t.test('all open handles that have changed are swapped, or those that were chosen', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${begin}
    copyFileSync('so1.so', 'other.so');
    const other = SoHandle.open('./other.so');
    const closed = SoHandle.open('./other.so');
    const unchanged = SoHandle.open('./so1.so');
    for (const each of [other, closed, unchanged]) count(each);
    swapOnSignal('SIGHUP');
    swapOnSignal('SIGUSR2', new Set([other, closed]));
    const late = SoHandle.open('./other.so');
    closed.close();
    copyFileSync('so2.so', 'so.so');
    copyFileSync('so2.so', 'other.so');
    signal();
    const generations = () => [so, other, late, unchanged].map(({ generation }) => generation).join();
    await until('all of them are swapped', () => generations() === '2,2,2,1');
    copyFileSync('so1.so', 'other.so');
    signal('SIGUSR2');
    await until('the one that was chosen is swapped', () => other.generation === 3);
    await begun();
    for (const each of [so, other, late]) await each.swap();
    process.send([generations(), events]);
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, exitedCleanly);
  // One by each signal that was for it, and one by hand; nobody listens to the late one.
  t.same(ended.messages, [['3,4,3,1', [2, 2, 3, 3, 4]]]);
});

t.test('a refused candidate emits the event, and the next signal tries again', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${begin}
    import { writeFileSync } from 'node:fs';
    swapOnSignal('SIGHUP');
    writeFileSync('so.so', 'rubbish');
    signal();
    await told(1);
    process.send(so.functions.version());
    copyFileSync('so2.so', 'so.so');
    signal();
    await told(2);
    process.send([events, so.functions.version()]);
  `;
  t.match(await runProgram(program, { cwd }), {
    ...exitedCleanly,
    messages: ['build 1111', [['ERR_SOSWAP_NOT_ELF', 2], 'build 2222']],
  });
});

t.test('it does not keep the process alive', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  t.match(await runProgram(`${begin} swapOnSignal('SIGHUP');`, { cwd }), exitedCleanly);
});

t.test('in a worker, which no signal reaches, it is refused', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `
    import { Worker } from 'node:worker_threads';
    const text = "import { swapOnSignal } from 'soswap'; swapOnSignal('SIGHUP');";
    const { href } = new URL(import.meta.resolve('soswap'));
    const worker = new Worker(
      new URL('data:text/javascript,' + encodeURIComponent(text.replace('soswap', href))),
    );
    worker.on('error', ({ code }) => process.send(code));
  `;
  t.match(await runProgram(program, { cwd }), {
    ...exitedCleanly,
    messages: ['ERR_WORKER_UNSUPPORTED_OPERATION'],
  });
});

t.test(
  'what has not changed keeps its state, and one list tells what became of each',
  async (t) => {
    const cwd = t.testdir();
    copyBuilds(builds, cwd);
    const program = `${begin}
    import { renameSync, writeFileSync } from 'node:fs';
    for (const name of ['bad', 'same']) copyFileSync('so1.so', name + '.so');
    const [bad, same] = ['bad', 'same'].map((name) =>
      SoHandle.open('./' + name + '.so', { count: { return: 'int32' } }));
    same.functions.count();
    const rounds = [];
    let thrown = 0;
    process.on('uncaughtException', () => thrown++);
    const swap = { order: 'open-first' };
    const subscription = swapOnSignal('SIGHUP', {
      swap,
      handles: [so, bad, same],
      onDone: (results) => {
        rounds.push(results.map(({ status, handle, report, error }) =>
          [status, handle.generation, report?.order ?? error?.code]));
        throw new Error('of onDone');
      },
    });
    swap.order = 'rubbish'; // too late
    copyFileSync('so2.so', 'so.so');
    writeFileSync('bad.so', 'rubbish');
    renameSync('so1.so', 'same.so'); // another inode
    signal();
    await until('it is acknowledged', () => rounds.length === 1);
    signal();
    await until('it is acknowledged again', () => rounds.length === 2 && thrown === 2);
    process.send([...rounds, same.functions.count(), events]);
  `;
    const ended = await runProgram(program, { cwd });
    t.match(ended, exitedCleanly);
    const bad = ['refused', 1, 'ERR_SOSWAP_NOT_ELF'];
    const [same, swapped] = [
      ['current', 1, null],
      ['swapped', 2, 'open-first'],
    ];
    const next = ['current', 2, null];
    t.same(ended.messages, [[[swapped, bad, same], [next, bad, same], 2, [2]]]);
  },
);

t.test('wrong options are refused at once', async (t) => {
  const wrong = (options: unknown) => () => swapOnSignal('SIGHUP', options as object);
  const before = process.listenerCount('SIGHUP');
  t.throws(wrong({ ondone: () => {} }), { code: 'ERR_INVALID_ARG_VALUE', message: /'onDone'/ });
  t.throws(wrong({ swap: { odrer: 1 } }), { message: /options\.swap\.odrer.*'order'/ });
  t.throws(wrong({ swap: { order: 'last' } }), { code: 'ERR_INVALID_ARG_VALUE' });
  t.throws(wrong({ onDone: 1 }), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(wrong({ handles: 1 }), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(wrong([{}]), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(wrong('text'), { code: 'ERR_INVALID_ARG_TYPE' });
  t.equal(process.listenerCount('SIGHUP'), before);
});

t.test('names that are no signals are refused', async (t) => {
  const wrong = (signal: unknown) => () => swapOnSignal(signal as NodeJS.Signals);
  t.throws(wrong('SIGFROB'), { code: 'ERR_INVALID_ARG_VALUE' });
  t.throws(wrong('toString'), { code: 'ERR_INVALID_ARG_VALUE' });
  t.throws(wrong(1), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(wrong('SIGKILL'), { code: 'EINVAL' });
});
