import { join } from 'node:path';
import { inspect } from 'soswap';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, importUntil, runProgram } from '../fixtures/child.js';

// Code of an old image that runs after the swap. Each case runs in a process of its own, which must
// end cleanly.

const directory = t.testdir();
const library = compile('retain/later.c', join(directory, 'later.so'), '-O2');

const program = (body: string, options = {}) => `
  import { loaded, SoHandle } from 'soswap';
  import * as dl from 'soswap/dl';
  ${importUntil}
  const int = { return: 'int32' };
  const so = SoHandle.open('${library}', {
    tell: { arguments: ['buffer', 'int32'] },
    by_key: { return: 'int32', nonblocking: true },
  }, ${JSON.stringify(options)});
  const ran = new Int32Array(new SharedArrayBuffer(4));
  const gone = [];
  so.on('unmapped', ({ generation }) => gone.push(generation));
  const call = (name) => {
    if (so.getFunction(name, int)() !== 0) throw new Error(name);
  };
  const old = (name) => dl.functionAt(so.getSymbol(name), int);
  so.functions.tell(ran, 200_000);
  ${body}
`;

for (const [name, times, code, detail] of [
  ['by_pthread', 1, 'running-threads', /^1 thread/],
  ['by_exit', 1, 'running-threads', /^1 thread/],
  ['by_cancel', 1, 'running-threads', /^1 thread/],
  ['by_thrd', 1, 'running-threads', /^1 thread/],
  ['by_uv_thread', 1, 'running-threads', /^1 thread/],
  ['by_dlsym', 1, 'running-threads', /^1 thread/],
  ['by_uv_work', 2, 'pending-work', /uv_queue_work/],
] as const) {
  for (const order of ['close-first', 'open-first'] as const) {
    t.test(`${name}, ${order}: the old image goes by itself, once its code has run`, async (t) => {
      const body = `
        call('${name}');
        const report = await so.swap({ order: '${order}' });
        await until('its code has run', () => ran[0] === ${times});
        await until('the image is gone', () => gone.length === 1);
        process.send([report.unmapped, report.retained, gone, loaded().length]);
        so.close();
      `;
      const ended = await runProgram(program(body), { cwd: directory });
      t.match(ended, { ...exitedCleanly, messages: [[false, [{ code, detail }], [1], 1]] });
    });
  }

  t.test(`${name}: a program that ends meanwhile`, async (t) => {
    for (const end of ['process.exit(3);', 'so.close(); process.exit(3);', 'await so.swap();']) {
      const body = `call('${name}'); await so.swap(); call('${name}'); ${end}`;
      // A thread of the library may still run while the process exits, as it may without soswap.
      const ended = await runProgram(program(`so.functions.tell(null, 2000); ${body}`), {
        cwd: directory,
      });
      t.match(ended, { ...exitedCleanly, code: end.includes('exit') ? 3 : 0 }, end);
    }
  });
}

t.test('a timer keeps the image until it is deleted', async (t) => {
  const body = `
    so.functions.tell(ran, 0);
    const end = old('end_timer');
    call('by_timer');
    const { retained } = await so.swap();
    await until('the timer has run', () => ran[0] === 1);
    const stays = loaded().length;
    end();
    await until('the image is gone', () => gone.length === 1);
    process.send([retained, stays, loaded().length]);
  `;
  const ended = await runProgram(program(body), { cwd: directory });
  const reason = { code: 'pending-work', detail: /timer_create/ };
  t.match(ended, { ...exitedCleanly, messages: [[[reason], 2, 1]] });
});

t.test('aio_read() with SIGEV_THREAD keeps it', async (t) => {
  const body = `
    call('by_aio');
    const { retained } = await so.swap();
    await until('its code has run', () => ran[0] === 1);
    process.send(retained);
  `;
  const ended = await runProgram(program(body), { cwd: directory });
  t.match(ended, { ...exitedCleanly, messages: [[{ code: 'pending-work', detail: /aio_read/ }]] });
});

t.test('on_exit() keeps it, and runs', async (t) => {
  const body = `
    call('by_on_exit');
    const { retained } = await so.swap();
    process.send(retained);
  `;
  const ended = await runProgram(program(body), { cwd: directory });
  const messages = [[{ code: 'exit-handler', detail: /on_exit/ }]];
  t.match(ended, { ...exitedCleanly, stdout: 'on_exit\n', messages });
});

t.test('the value of a key on a thread of the pool', async (t) => {
  for (const unload of ['auto', 'always']) {
    const body = `
      so.functions.tell(ran, 0);
      await Promise.all(Array.from({ length: 8 }, () => so.functions.by_key()));
      const { unmapped } = await so.swap();
      if ('${unload}' === 'auto') {
        await until('the image is gone', () => unmapped || gone.length === 1);
        if (ran[0] < 1) throw new Error('no destructor has run');
      }
      process.send([loaded().length]);
    `;
    const ended = await runProgram(program(body, { unload }), { cwd: directory });
    t.match(ended, { ...exitedCleanly, messages: [[1]] }, unload);
  }
});

t.test('workers: what is due at the end of one runs there, and the image goes', async (t) => {
  const inWorker = program(`
    so.functions.tell(null, 20_000);
    call('by_key_here');
    call('by_pthread');
    await so.swap();
    call('by_key_here');
    call('by_pthread');
  `);
  const main = `
    import { writeFileSync } from 'node:fs';
    import { Worker } from 'node:worker_threads';
    import { loaded, SoHandle } from 'soswap';
    ${importUntil}
    writeFileSync('worker.mjs', ${JSON.stringify(inWorker)});
    const so = SoHandle.open('${library}');
    for (let round = 0; round < 3; round++) {
      const worker = new Worker('./worker.mjs', { execArgv: [] });
      await new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject));
    }
    // The sweeps of this thread close what the workers have left.
    await until('their images are gone', () => so.swapSync().unmapped && loaded().length === 1);
  `;
  t.match(await runProgram(main, { cwd: directory }), exitedCleanly);
});

t.test('16 threads that end at random during swaps', async (t) => {
  const body = `
    let swaps = 0;
    let begun = 0;
    for (; swaps < 100; swaps++) {
      for (let i = 0; i < 4; i++, begun++) {
        so.functions.tell(ran, Math.floor(Math.random() * 20_000));
        call(['by_pthread', 'by_exit', 'by_thrd', 'by_uv_thread'][i]);
      }
      await so.swap({ order: swaps % 2 ? 'open-first' : 'close-first' });
    }
    await until('all threads have run', () => ran[0] === begun);
    await until('the old images are gone', () => loaded().length === 1);
    process.send(ran[0]);
  `;
  const ended = await runProgram(program(body), { cwd: directory });
  t.match(ended, { ...exitedCleanly, messages: [400] });
});

const atEnd = compile('retain/at-end.cc', join(directory, 'at-end.so'), '-O2');

for (const end of [
  '',
  'process.exit();',
  'so.close();',
  'so.swapSync(); use();',
  "await so.swap({ order: 'open-first' }); use(); process.exit();",
  "so.swapSync({ unload: 'always' });",
  "so.swapSync({ unload: 'never' }); use();",
  'await aside();',
  'await aside(); await so.swap(); process.exit();',
  'await aside(); so.close();',
]) {
  t.test(
    `each thread_local destructor runs once in a program that ends with: ${end}`,
    async (t) => {
      const program = `
      import { SoHandle } from 'soswap';
      const int = { return: 'int32' };
      const so = SoHandle.open('${atEnd}', { use: int, use_on_thread: int });
      const other = SoHandle.open('${atEnd}', { use: { ...int, nonblocking: true } });
      const { use, use_on_thread } = so.functions;
      const aside = other.functions.use;
      use();
      use_on_thread();
      ${end}
    `;
      const ended = await runProgram(program, { cwd: directory });
      t.match(ended, exitedCleanly);
      const lines = ended.stdout.trim().split('\n');
      const [made, destroyed] = ['made', 'ended'].map((word) =>
        lines.filter((line) => line === word),
      );
      t.ok(made!.length >= 2);
      t.equal(destroyed!.length, made!.length);
    },
  );
}

t.test('inspect() says so', async (t) => {
  t.match(inspect(library).unload.verdict, 'unmaps when its threads have ended');
});
