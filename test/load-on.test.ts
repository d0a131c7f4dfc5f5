import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SoHandle, type SwapOptions } from 'soswap';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, importHeld, importUntil, root, runProgram } from '../fixtures/child.js';
import { until } from '../fixtures/until.js';

const directory = t.testdir();
const library = compile('loading-thread.c', join(directory, 'built.so'));

const definitions = {
  loaded_on: { return: 'int32' },
  tell: { arguments: ['buffer'] },
} as const;

/** The threads that loaded the second image and unloaded the first. */
async function threadsOf(t: Tap, options: SwapOptions, sync = false): Promise<[number, number]> {
  const path = join(t.testdir(), 'so.so');
  copyFileSync(library, path);
  const told = new Int32Array(new SharedArrayBuffer(4));
  const so = SoHandle.open(path, definitions);
  so.functions.tell(told);
  const report = sync ? so.swapSync(options) : await so.swap(options);
  t.match(report, { generation: 2, unmapped: true, retained: [], missing: [] });
  const loadedOn = so.functions.loaded_on();
  so.close();
  return [loadedOn, told[0] ?? 0];
}
type Tap = typeof t;

t.test('open-first loads and unmaps on another thread', async (t) => {
  const [loaded, unloaded] = await threadsOf(t as Tap, { order: 'open-first' });
  t.not(loaded, process.pid);
  t.not(unloaded, process.pid);
  t.ok(loaded > 0 && unloaded > 0);
});

t.test('on request, and in every other way, the JavaScript thread does it', async (t) => {
  const here = [process.pid, process.pid];
  t.same(await threadsOf(t as Tap, { order: 'open-first', loadOn: 'main' }), here);
  t.same(await threadsOf(t as Tap, { order: 'close-first' }), here);
  t.same(await threadsOf(t as Tap, { order: 'open-first' }, true), here);
  t.same(await threadsOf(t as Tap, { order: 'close-first' }, true), here);
});

/** From another process: dlsym(3) and dlclose(3) hold this one until the constructor has ended. */
const touchSoon = (path: string) => spawn('sh', ['-c', 'sleep 0.05; : > "$0"', path]);

/** Begins a swap, and resolves when the constructor of the new image waits at a gate. */
async function beginLoading(t: Tap, so: SoHandle) {
  const gate = `${so.path}.gate`;
  process.env.SOSWAP_TEST_GATE = gate;
  t.teardown(() => delete process.env.SOSWAP_TEST_GATE);
  const swap = so.swap({ order: 'open-first' });
  await until('the constructor has begun', () => existsSync(`${gate}.arrived`));
  return { swap, open: () => writeFileSync(gate, ''), openSoon: () => touchSoon(gate) };
}

t.test('calls go on in the old image while the new one is loaded', async (t) => {
  const path = join(t.testdir(), 'so.so');
  copyFileSync(library, path);
  const so = SoHandle.open(path, definitions);
  const before = so.functions.loaded_on();
  const { swap, open } = await beginLoading(t as Tap, so);
  const milliseconds = 50;
  const begun = performance.now();
  do {
    t.equal(so.functions.loaded_on(), before);
    await sleep(10);
  } while (performance.now() < begun + milliseconds);
  open();
  const { pauseMicroseconds, totalMicroseconds } = await swap;
  const aside = totalMicroseconds - pauseMicroseconds;
  t.ok(aside >= milliseconds * 1000, 'the pause is without the time that the constructor took');
  t.not(so.functions.loaded_on(), before);
  so.close();
});

t.test('a symbol that is bound while the image is loaded is found too', async (t) => {
  const path = join(t.testdir(), 'so.so');
  copyFileSync(library, path);
  const so = SoHandle.open(path, {});
  const { swap, openSoon } = await beginLoading(t as Tap, so);
  openSoon();
  const loadedOn = so.getFunction('loaded_on', { return: 'int32' });
  t.equal(loadedOn(), process.pid);
  await swap;
  t.not(loadedOn(), process.pid);
  so.close();
});

/** What a program does, and what it prints; the constructor of the new image waits at a gate once that is shut. */
const endings: [name: string, ending: string, stdout: string][] = [
  [
    'close() while the image is loaded',
    `
      shut();
      const swap = so.swap({ order: 'open-first' });
      await arrival();
      spawn('sh', ['-c', 'sleep 0.05; : > "$0"', gate]);
      so.close();
      await swap.then(() => console.log('swapped'), ({ code }) => console.log(code));
      await until('both images are unmapped', () => loaded().length === 0);`,
    'ERR_SOSWAP_CLOSED\n',
  ],
  [
    'process.exit() while the image is loaded',
    `
      shut();
      so.swap({ order: 'open-first' }).then(console.log, console.log);
      await arrival();
      console.log(so.functions.loaded_on() === process.pid, so.generation);
      process.on('exit', open);
      process.exit();`,
    'true 1\n',
  ],
  [
    'a worker that is terminated while the image is loaded',
    `
      const worker = new Worker(\`
        const { SoHandle } = await import('soswap');
        const { parentPort } = await import('node:worker_threads');
        const so = SoHandle.open(\${JSON.stringify(path)});
        parentPort.once('message', () => so.swap({ order: 'open-first' }));
        parentPort.postMessage('open');
      \`, { eval: true });
      await once(worker, 'message');
      shut();
      worker.postMessage('swap');
      await arrival();
      const swap = so.swap({ order: 'open-first' });
      const ended = worker.terminate();
      open();
      await ended;
      console.log((await swap).generation);
      so.close();
      console.log(loaded().length);`,
    '2\n0\n',
  ],
];

for (const [name, ending, stdout] of endings) {
  t.test(`${name} harms nothing`, async (t) => {
    const path = join(t.testdir(), 'so.so');
    copyFileSync(library, path);
    const program = `
      import { spawn } from 'node:child_process';
      import { once } from 'node:events';
      import { existsSync, writeFileSync } from 'node:fs';
      import { Worker } from 'node:worker_threads';
      import { loaded, SoHandle } from 'soswap';
      ${importUntil}
      const path = ${JSON.stringify(path)};
      const gate = path + '.gate';
      const shut = () => { process.env.SOSWAP_TEST_GATE = gate; };
      const open = () => writeFileSync(gate, '');
      const arrival = () => until('the constructor has begun', () => existsSync(gate + '.arrived'));
      const so = SoHandle.open(path, { loaded_on: { return: 'int32' } });
      ${ending}`;
    t.match(await runProgram(program, { cwd: root }), { ...exitedCleanly, stdout });
  });
}

t.test('where no thread can be started, the JavaScript thread does it all', async (t) => {
  const path = join(t.testdir(), 'so.so');
  copyFileSync(library, path);
  const program = `
    import { writeFileSync } from 'node:fs';
    import { loaded, SoHandle } from 'soswap';
    const so = SoHandle.open(${JSON.stringify(path)}, { loaded_on: { return: 'int32' } });
    writeFileSync(process.env.SOSWAP_TEST_NO_THREADS, '');
    for (const order of ['open-first', 'close-first']) {
      const { generation, unmapped } = await so.swap({ order });
      console.log(generation, unmapped, so.functions.loaded_on() === process.pid, loaded().length);
    }
    so.close();`;
  const env = {
    LD_PRELOAD: compile('faults.c', join(directory, 'faults.so')),
    SOSWAP_TEST_NO_THREADS: `${path}.no-threads`,
  };
  const ended = await runProgram(program, { cwd: root, env });
  t.match(ended, exitedCleanly);
  t.equal(ended.stdout, '2 true true 1\n3 true true 1\n');
});

t.test('swaps leave one thread behind, however many there were at a time', async (t) => {
  const folder = t.testdir();
  const paths = Array.from({ length: 8 }, (_, index) => join(folder, `so${index}.so`));
  for (const path of paths) copyFileSync(library, path);
  const program = `
    import { SoHandle } from 'soswap';
    ${importHeld}
    ${importUntil}
    const handles = ${JSON.stringify(paths)}.map((path) => SoHandle.open(path));
    const swapAll = (options) => Promise.all(handles.map((so) => so.swap(options)));
    await handles[0].swap();
    const { threads } = held();
    for (let round = 0; round < 5; round++) {
      await swapAll({ order: 'close-first' });
      await swapAll({ order: 'open-first' });
    }
    await until('the threads have ended', () => held().threads <= threads);
    process.send({ generations: handles.map(({ generation }) => generation), left: held().threads - threads });
    for (const so of handles) so.close();
  `;
  const ended = await runProgram(program, { cwd: root });
  t.match(ended, exitedCleanly);
  t.same(ended.messages, [{ generations: [12, 11, 11, 11, 11, 11, 11, 11], left: 0 }]);
});
