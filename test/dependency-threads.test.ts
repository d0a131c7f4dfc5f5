import { renameSync } from 'node:fs';
import { inspect, SoHandle } from 'soswap';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, importUntil, runProgram } from '../fixtures/child.js';

// Code of an old image that a dependency runs later. Each case runs in a process of its own, which must end cleanly.

const directory = t.testdir();
const compileBelow = (to: string, ...flags: string[]) =>
  compile('retain/for-others.cc', to, '-Wl,-soname,libfor-others.so', ...flags);
const below = compileBelow(`${directory}/libfor-others.so`);
const compileAbove = (to: string, ...flags: string[]) =>
  compile('retain/asks-others.c', to, '-DLINE=1111', below, '-Wl,-rpath,$ORIGIN', ...flags);
const library = compileAbove(`${directory}/asks.so`);

const program = (body: string, options = {}) => `
  import { inspect, loaded, SoHandle } from 'soswap';
  import * as dl from 'soswap/dl';
  ${importUntil}
  const int = { return: 'int32' };
  const so = SoHandle.open('${library}', {}, ${JSON.stringify(options)});
  const gone = [];
  so.on('unmapped', ({ generation }) => gone.push(generation));
  const old = (name) => dl.functionAt(so.getSymbol(name), int);
  const call = (name) => {
    if (so.getFunction(name, int)() !== 0) throw new Error(name);
  };
  const rounds = old('rounds');
  const finish = old('finish');
  const goesOn = async () => {
    const before = rounds();
    await until('the thread goes on', () => rounds() > before);
  };
  ${body}
`;

const isDeep = /the thread \d+ \('.+'\) of its dependency '.*libfor-others\.so' may run its code/;

for (const start of ['by_pthread', 'by_std_thread', 'by_common_thread']) {
  for (const order of ['close-first', 'open-first']) {
    t.test(`${start}, ${order}: the image stays for as long as the thread runs`, async (t) => {
      const body = `
        call('${start}');
        await goesOn();
        const { retained } = await so.swap({ order: '${order}' });
        await goesOn();
        const stays = [loaded().length, gone.length];
        finish();
        await until('the image is gone', () => gone.length === 1);
        process.send([retained, stays, loaded().length]);
        so.close();
      `;
      const ended = await runProgram(program(body), { cwd: directory });
      const reason = { code: 'may-run-threads', detail: isDeep };
      t.match(ended, { ...exitedCleanly, messages: [[[reason], [2, 0], 1]] });
    });
  }

  t.test(`${start}: a thread that never ends keeps what it could call`, async (t) => {
    const body = `
      call('${start}');
      const unmapped = [];
      for (let round = 0; round < 20; round++) unmapped.push((await so.swap()).unmapped);
      await goesOn();
      process.send([unmapped.indexOf(true), loaded().length, gone]);
      so.close();
      await goesOn();
      process.exit();
    `;
    const ended = await runProgram(program(body), { cwd: directory });
    // The thread of the dependency could call any of the images.
    t.match(ended, { ...exitedCleanly, messages: [[-1, 21, []]] });
  });
}

t.test('without a thread the image goes, and the dependency stays', async (t) => {
  const body = `
    const before = inspect('${library}');
    const unmapped = [];
    for (const order of ['close-first', 'open-first', 'close-first']) {
      unmapped.push((await so.swap({ order })).unmapped);
    }
    const kept = inspect('${library}').dependencies.filter(({ kept }) => kept).map(({ name }) => name);
    process.send([before.unload, unmapped, before.dependencies.some(({ kept }) => kept), kept]);
  `;
  const ended = await runProgram(program(body), { cwd: directory });
  const verdict = { outcome: 'clean', verdict: 'unmaps when its threads have ended', reasons: [] };
  const kept = ['libfor-others.so'];
  t.match(ended, { ...exitedCleanly, messages: [[verdict, [true, true, true], false, kept]] });
});

t.test('a destructor for the end of a thread that the dependency registers', async (t) => {
  const inWorker = program(`
    import { parentPort } from 'node:worker_threads';
    call('by_key');
    const { retained } = await so.swap();
    parentPort.postMessage(retained);
  `);
  const main = `
    import { writeFileSync } from 'node:fs';
    import { Worker } from 'node:worker_threads';
    writeFileSync('worker.mjs', ${JSON.stringify(inWorker)});
    const worker = new Worker('./worker.mjs', { execArgv: [] });
    worker.on('message', (retained) => process.send(retained));
    await new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject));
  `;
  const ended = await runProgram(main, { cwd: directory });
  const reason = { code: 'bound-by', detail: /the C library holds an address of it/ };
  t.match(ended, { ...exitedCleanly, messages: [[reason]] });
});

t.test('a function that the dependency keeps', async (t) => {
  const body = `
    call('by_keeping');
    const { retained } = await so.swap();
    const stays = loaded().length;
    call('by_forgetting');
    await until('the image is gone', () => gone.length === 1);
    process.send([retained, stays]);
  `;
  const ended = await runProgram(program(body), { cwd: directory });
  const detail = /its dependency '.*libfor-others\.so' holds an address of it/;
  t.match(ended, { ...exitedCleanly, messages: [[[{ code: 'bound-by', detail }], 2]] });
});

t.test("image: 'direct': a swap that would get the old image is refused before", async (t) => {
  const body = `
    call('by_pthread');
    await goesOn();
    const { code, outcome, message } = await so.swap().catch((error) => error);
    await goesOn();
    finish();
    await until('the thread has ended', () => so.swap().then(() => true, () => false));
    process.send([code, outcome, message]);
  `;
  const ended = await runProgram(program(body, { image: 'direct' }), { cwd: directory });
  const messages = [['ERR_SOSWAP_STILL_LOADED', 'unchanged', isDeep]];
  t.match(ended, { ...exitedCleanly, messages });
});

t.test('threads of which nobody can see who started them', async (t) => {
  const preload = compile('wrap-threads.c', `${directory}/wrap-threads.so`);
  const body = `
    call('by_pthread');
    await goesOn();
    const { retained } = await so.swap();
    await goesOn();
    process.send(retained);
    process.exit();
  `;
  const env = { LD_PRELOAD: preload };
  const ended = await runProgram(program(body), { cwd: directory, env });
  const reason = { code: 'may-run-threads', detail: /soswap cannot see who started the thread/ };
  t.match(ended, { ...exitedCleanly, messages: [[reason]] });
});

t.test('a dependency that stays was replaced too', async (t) => {
  const cwd = t.testdir();
  const copy = compileBelow(`${cwd}/libfor-others.so`);
  const path = compileAbove(`${cwd}/asks.so`);
  const so = SoHandle.open(path);
  t.equal(so.swapSync().unmapped, true);
  compileBelow(`${copy}.new`, '-DNEW');
  renameSync(`${copy}.new`, copy);
  for (const order of ['close-first', 'open-first'] as const) {
    const code = 'ERR_SOSWAP_REPLACED_DEPENDENCY';
    t.throws(() => so.swapSync({ order }), { code, outcome: 'unchanged' });
  }
  t.match(inspect(path).refusal, { code: 'ERR_SOSWAP_REPLACED_DEPENDENCY' });
  so.close();
});
