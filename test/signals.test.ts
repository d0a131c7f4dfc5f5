import { swapOnSignal } from 'soswap';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';

const builds = twoBuilds(t.testdir());

/** A program with a handle of so.so, whose events it counts. */
const begin = `
  import { once } from 'node:events';
  import { copyFileSync } from 'node:fs';
  import { setTimeout as sleep } from 'node:timers/promises';
  import { SoHandle, swapOnSignal } from 'soswap';
  const so = SoHandle.open('./so.so', { version: { return: 'string' } });
  const events = [];
  const count = (so) => {
    so.on('swap', ({ generation }) => events.push(generation));
    so.on('refused', ({ code }) => events.push(code));
  };
  count(so);
  const signal = (name = 'SIGHUP') => process.kill(process.pid, name);
  const until = async (condition) => { while (!condition()) await sleep(5); };
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
    await until(() => events.length > 0);
    await sleep(200);
    process.send([events, so.functions.version()]);
  `;
  t.match(await runProgram(program, { cwd }), {
    ...exitedCleanly,
    messages: ['build 1111', [[2], 'build 2222']],
  });
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
    await until(() => swaps === 2);
    await sleep(200);
    process.send(swaps);
  `;
  t.match(await runProgram(program, { cwd }), { ...exitedCleanly, messages: [2] });
});

t.test('disposing of it restores what the signal did before', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${begin}
    const subscription = swapOnSignal('SIGHUP');
    signal();
    await until(() => events.length > 0);
    process.send(events);
    subscription[Symbol.dispose]();
    subscription[Symbol.dispose]();
    signal();
    await sleep(10_000);
    process.send('it goes on');
  `;
  t.match(await runProgram(program, { cwd }), {
    code: null,
    signal: 'SIGHUP',
    stderr: '',
    messages: [[2]],
  });
});

t.test('all open handles are swapped, or those that were chosen', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${begin}
    const other = SoHandle.open('./so1.so');
    const closed = SoHandle.open('./so1.so');
    for (const each of [other, closed]) count(each);
    swapOnSignal('SIGHUP');
    swapOnSignal('SIGUSR2', new Set([other, closed]));
    const late = SoHandle.open('./so1.so');
    closed.close();
    signal();
    await until(() => late.generation === 2 && other.generation === 2 && so.generation === 2);
    signal('SIGUSR2');
    await until(() => events.length === 3);
    await sleep(100); // for one too many
    process.send([so, other, late].map(({ generation }) => generation));
    process.send(events.length);
  `;
  t.match(await runProgram(program, { cwd }), { ...exitedCleanly, messages: [[2, 3, 2], 3] });
});

t.test('a refused candidate is told by the event, and the next signal tries again', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${begin}
    import { writeFileSync } from 'node:fs';
    swapOnSignal('SIGHUP');
    writeFileSync('so.so', 'rubbish');
    signal();
    await until(() => events.length === 1);
    process.send(so.functions.version());
    copyFileSync('so2.so', 'so.so');
    signal();
    await until(() => events.length === 2);
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

t.test('a worker thread is told that no signal reaches it', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `
    import { Worker } from 'node:worker_threads';
    const text = "import { swapOnSignal } from 'soswap'; swapOnSignal('SIGHUP');";
    const { href } = new URL(import.meta.resolve('soswap'));
    const worker = new Worker(
      new URL('data:text/javascript,' + encodeURIComponent(text.replace('soswap', href))),
    );
    worker.on('error', ({ code, message }) => process.send({ code, message }));
  `;
  t.match(await runProgram(program, { cwd }), {
    ...exitedCleanly,
    messages: [{ code: 'ERR_WORKER_UNSUPPORTED_OPERATION', message: /SIGHUP.*main thread/ }],
  });
});

t.test('names that are no signals are refused', async (t) => {
  const wrong = (signal: unknown) => () => swapOnSignal(signal as NodeJS.Signals);
  t.throws(wrong('SIGFROB'), { code: 'ERR_INVALID_ARG_VALUE', message: /SIGFROB/ });
  t.throws(wrong('toString'), { code: 'ERR_INVALID_ARG_VALUE' });
  t.throws(wrong(1), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(wrong('SIGKILL'), { code: 'EINVAL' });
});
