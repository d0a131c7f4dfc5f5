import { copyFileSync } from 'node:fs';
import { SoHandle } from 'soswap';
import t from 'tap';
import { compile, compileAction } from '../fixtures/build.js';
import { exitedCleanly, importUntil, runProgram } from '../fixtures/child.js';

const directory = t.testdir();
const libraries: Record<string, string> = {};
for (const source of ['thread.c', 'std-thread.cc']) {
  libraries[source] = compile(`retain/${source}`, `${directory}/${source}.so`, '-DLINE=1111');
}
const plain = compileAction(`${directory}/plain.so`, 2222);

const definitions = { count: { return: 'int32' }, version: { return: 'string' } } as const;
const runningThreads = [{ code: 'running-threads', detail: /^1 thread/ }];

/** The beginning of a program whose handle `so` has a thread running, of which `old` are the functions. */
const startThread = (path: string, options = {}) => `
  import { copyFileSync } from 'node:fs';
  import { SoHandle } from 'soswap';
  import * as dl from 'soswap/dl';
  ${importUntil}
  const int = { return: 'int32' };
  const so = SoHandle.open('${path}', { start: int, rounds: int }, ${JSON.stringify(options)});
  const { start, rounds } = so.functions;
  const old = { rounds: dl.functionAt(so.getSymbol('rounds'), int) };
  const progress = async (count) => {
    const before = count();
    await until('the thread has made progress', () => count() > before);
  };
  if (start() !== 0) throw new Error('no thread');
  await progress(rounds);
`;

for (const [name, library] of Object.entries(libraries)) {
  t.test(`${name}: a thread goes on in the old image`, async (t) => {
    const path = `${t.testdir()}/so.so`;
    copyFileSync(library, path);
    const program = `
      ${startThread(path)}
      const { retained } = await so.swap();
      await progress(old.rounds);
      process.send({ retained, rounds: rounds() });
    `;
    const ended = await runProgram(program, { cwd: directory });
    t.match(ended, { ...exitedCleanly, messages: [{ retained: runningThreads, rounds: 0 }] });
  });

  t.test(`${name}: once the thread is stopped, unload: 'always' is safe`, async (t) => {
    const path = `${t.testdir()}/so.so`;
    copyFileSync(library, path);
    const program = `
      ${startThread(path)}
      so.getFunction('stop', int)();
      const { unmapped } = await so.swap({ unload: 'always' });
      process.send({ unmapped, rounds: rounds() });
    `;
    const ended = await runProgram(program, { cwd: directory });
    t.match(ended, { ...exitedCleanly, messages: [{ unmapped: true, rounds: 0 }] });
  });
}

t.test('a library that can start threads, and has not, is unmapped', async (t) => {
  const path = `${t.testdir()}/so.so`;
  copyFileSync(libraries['thread.c']!, path);
  const so = SoHandle.open(path, definitions);
  for (const how of ['swapSync', 'swap'] as const) {
    const inTurn = [libraries['thread.c']!, plain, plain, libraries['thread.c']!];
    const reasons: number[] = [];
    for (const file of inTurn) {
      copyFileSync(file, path);
      reasons.push((await so[how]()).retained.length);
    }
    t.same(reasons, [0, 0, 0, 0], 'no thread was started');
  }
  so.close();
});

for (const [what, options, reason] of [
  ['a thread runs', {}, /1 thread\(s\) that it started have not ended/],
  ["unload is 'never'", { unload: 'never' }, /unload is 'never'/],
] as const) {
  t.test(
    `close-first, ${what}: the error of a refused candidate says that nothing was closed`,
    async (t) => {
      const cwd = t.testdir();
      const path = `${cwd}/so.so`;
      copyFileSync(libraries['thread.c']!, path);
      const refused = compile('retain/thread-refused.c', `${cwd}/refused.so`, '-DLINE=2222');
      const program = `
      ${startThread(path, options)}
      copyFileSync('${refused}', '${path}.new');
      const { renameSync } = await import('node:fs');
      renameSync('${path}.new', '${path}');
      const errors = [];
      for (const order of ['close-first', 'open-first']) {
        const { code, message } = await so.swap({ order }).catch((error) => error);
        errors.push(code, message);
        await progress(rounds);
      }
      process.send(errors);
      process.exit();
    `;
      const ended = await runProgram(program, { cwd: directory });
      t.match(ended, exitedCleanly);
      const [code, message, other, plain] = ended.messages[0] as string[];
      t.same([code, other], ['ERR_SOSWAP_LOADER', 'ERR_SOSWAP_LOADER']);
      t.match(message, /the old image had stayed mapped, and its destructors had not run: /);
      t.match(message, reason);
      t.notMatch(plain, /had stayed mapped/, 'it was not to be closed first');
    },
  );
}

for (const [what, flags] of [
  ['ends the thread', ['-DJOINS']],
  ['leaves the thread alone', []],
] as const) {
  t.test(
    `a destructor that ${what}: unload: 'auto' leaves both until the process ends`,
    async (t) => {
      const cwd = t.testdir();
      const path = compile('retain/pool.c', `${cwd}/so.so`, ...flags);
      for (const end of ['', 'process.exit();', 'so.close();']) {
        const program = `
        ${startThread(path)}
        const { retained } = await so.swap();
        await progress(old.rounds);
        process.send(retained);
        ${end}
      `;
        const ended = await runProgram(program, { cwd });
        // One line of each image: no destructor has run twice, and none too early.
        t.match(ended, { ...exitedCleanly, messages: [runningThreads] }, end);
        t.equal(ended.stdout, 'destroyed\n'.repeat(2), end);
      }
    },
  );
}

t.test("a destructor that ends the thread: unload: 'always' runs it at the swap", async (t) => {
  const cwd = t.testdir();
  const path = compile('retain/pool.c', `${cwd}/so.so`, '-DJOINS');
  const program = `
    ${startThread(path)}
    for (let round = 0; round < 20; round++) {
      const { unmapped } = await so.swap({ unload: 'always' });
      if (!unmapped || start() !== 0) throw new Error('round ' + round);
      await progress(rounds);
    }
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, exitedCleanly);
  t.equal(ended.stdout, 'destroyed\n'.repeat(21), 'the last one at the end of the process');
});

t.test('a thread of a dependency', async (t) => {
  const cwd = t.testdir();
  const below = compile('retain/calling-thread.c', `${cwd}/libcalling-thread.so`);
  const path = compile(
    'retain/thread-below.c',
    `${cwd}/so.so`,
    '-DLINE=1111',
    below,
    '-Wl,-rpath,$ORIGIN',
  );

  await t.test('the old image stays, and the report names the dependency', async (t) => {
    const program = `
      ${startThread(path)}
      const { retained } = await so.swap();
      await progress(old.rounds);
      process.send({ retained, rounds: rounds() });
    `;
    const ended = await runProgram(program, { cwd });
    const retained = [{ code: 'may-run-threads', detail: /libcalling-thread\.so/ }];
    t.match(ended, { ...exitedCleanly, messages: [{ retained, rounds: 0 }] });
  });

  t.test('every handle on the library knows of the thread', async (t) => {
    const program = `
      const { SoHandle } = await import('soswap');
      const first = SoHandle.open('${path}');
      ${startThread(path).replace(/^ *import .*SoHandle.*$/m, '')}
      const { retained } = await so.swap();
      await progress(old.rounds);
      process.send(retained);
    `;
    const ended = await runProgram(program, { cwd });
    t.match(ended, { ...exitedCleanly, messages: [[{ code: 'may-run-threads' }]] });
  });

  for (const unload of ['auto', 'never']) {
    for (const [end, code] of [
      ['', 0],
      ['process.exit(3);', 3],
      ['so.close();', 0],
      ['await so.swap();', 0],
      ['so.close(); process.exit(3);', 3],
    ] as const) {
      t.test(`unload: '${unload}', a program that ends with: ${end}`, async (t) => {
        const ended = await runProgram(`${startThread(path, { unload })} ${end}`, { cwd });
        t.match(ended, { ...exitedCleanly, code });
      });
    }
  }

  t.test('a worker ends without closing its handle', async (t) => {
    const inWorker = `
      import { isMainThread, Worker } from 'node:worker_threads';
      import { writeFileSync } from 'node:fs';
      writeFileSync('worker.mjs', ${JSON.stringify(startThread(path, { unload: 'never' }))});
      for (let round = 0; round < 3; round++) {
        const worker = new Worker('./worker.mjs', { execArgv: [] });
        await new Promise((resolve) => worker.on('exit', resolve));
      }
    `;
    t.match(await runProgram(inWorker, { cwd }), exitedCleanly);
  });
});

for (const [what, options, accept] of [
  ["with image: 'direct'", { image: 'direct' }, true],
  ["with image: 'direct', refused", { image: 'direct' }, false],
  ["with unload: 'always', refused", { unload: 'always' }, false],
] as const) {
  t.test(`a thread that verify() has started goes on, ${what}`, async (t) => {
    const path = `${t.testdir()}/so.so`;
    copyFileSync(plain, path);
    const program = `
      import { copyFileSync, renameSync } from 'node:fs';
      import { setTimeout as sleep } from 'node:timers/promises';
      import { SoHandle } from 'soswap';
      const int = { return: 'int32', optional: true };
      const so = SoHandle.open('${path}', { start: int, rounds: int }, ${JSON.stringify(options)});
      copyFileSync('${libraries['thread.c']}', '${path}.new');
      renameSync('${path}.new', '${path}');
      let started;
      const verify = ({ start }) => {
        started = start() === 0;
        return ${accept};
      };
      const swap = () => so.swapSync({ verify }).generation;
      let outcome;
      try {
        outcome = swap();
      } catch ({ code }) {
        outcome = code;
      }
      await sleep(50); // the thread runs its code about fifty times
      process.send({ started, outcome });
      process.exit();
    `;
    const ended = await runProgram(program, { cwd: directory });
    const outcome = accept ? 2 : 'ERR_SOSWAP_VERIFY';
    t.match(ended, { ...exitedCleanly, messages: [{ started: true, outcome }] });
  });
}
