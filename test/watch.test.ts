import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { SoHandle } from 'soswap';
import t from 'tap';
import { buildIdOf, compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, root, runNode, runProgram } from '../fixtures/child.js';
import { shell } from '../fixtures/replacement-tools.js';
import { soon, until } from '../fixtures/until.js';
import { versionOf, Watched, Witness } from '../fixtures/watched.js';

const directory = t.testdir({ witness: {} });
const builds = twoBuilds(directory);
const witness = new Witness(builds, join(directory, 'witness'));
const mainThread = `self/task/${process.pid}`;

/** What a process or a thread has read so far, proc(5). */
function bytesRead(whose: string): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${whose}/io`, 'utf8'))?.[1]);
}

const noThreadIo = !existsSync(`/proc/${mainThread}/io`) && 'the kernel does not count I/O';

t.test('a file that vanishes is waited for', async (t) => {
  const { so, two } = copyBuilds(builds, t.testdir());
  const watched = new Watched(t, so);
  unlinkSync(so);
  await witness.passed();
  t.same(watched.events, []);
  t.equal(watched.line, 1111, 'the old code goes on');
  renameSync(two, so);
  await watched.told(1);
  t.same(watched.events, [2]);
  t.equal(watched.line, 2222);
});

t.test('a directory that vanishes is waited for, and watched when it is back', async (t) => {
  const directory = t.testdir();
  const { one, two } = copyBuilds(builds, directory);
  const path = join(directory, 'app/lib/so.so');
  shell(directory, 'mkdir -p app/lib; cp so1.so app/lib/so.so');
  const watched = new Watched(t, path);
  rmSync(join(directory, 'app'), { recursive: true });
  await witness.passed();
  shell(directory, 'mkdir app');
  await witness.passed();
  shell(directory, 'mkdir app/lib');
  await witness.passed();
  t.same(watched.events, []);
  shell(directory, 'cp so2.so app/lib/so.so');
  await watched.told(1);
  t.equal(watched.line, 2222);
  copyFileSync(one, path);
  await watched.told(2);
  t.equal(watched.line, 1111);
  renameSync(two, path);
  await watched.told(3);
  t.equal(watched.line, 2222);
  t.same(watched.events, [2, 3, 4]);
});

t.test('a symbolic link is followed through every hop, also after it was flipped', async (t) => {
  const directory = t.testdir();
  copyBuilds(builds, directory);
  shell(
    directory,
    `mkdir v1 v2 deep; cp so1.so v1/so.so; cp so2.so v2/so.so
     ln -s ../v1 deep/current; ln -s deep/./current/../deep/current app`,
  );
  const watched = new Watched(t, join(directory, 'app/so.so'));
  const steps: [commands: string, line: number][] = [
    ['ln -sfn ../v2 deep/current', 2222],
    ['cp so1.so v2/so.so', 1111],
    ['mkdir v3; cp so2.so v3/so.so; ln -sfn v3 app', 2222],
    ['rm v3/so.so; ln -s ../so1.so v3/so.so', 1111],
    ['cp so2.so so1.so', 2222],
  ];
  for (const [index, [commands, line]] of steps.entries()) {
    shell(directory, commands);
    await watched.told(index + 1);
    t.equal(watched.line, line, commands);
  }
  await witness.passed();
  t.same(watched.events, [2, 3, 4, 5, 6]);
});

t.test('a refused candidate is reported once, and tried again when it changes', async (t) => {
  const { so, two } = copyBuilds(builds, t.testdir());
  const watched = new Watched(t, so);
  writeFileSync(so, 'rubbish');
  await watched.told(1);
  await witness.passed();
  t.same(watched.events, ['ERR_SOSWAP_NOT_ELF']);
  writeFileSync(so, 'other rubbish');
  await watched.told(2);
  t.equal(watched.line, 1111, 'the old code goes on');
  writeFileSync(so, readFileSync(two).subarray(0, 5000));
  await watched.told(3);
  copyFileSync(two, so);
  await watched.told(4);
  await witness.passed();
  t.same(watched.events, ['ERR_SOSWAP_NOT_ELF', 'ERR_SOSWAP_NOT_ELF', 'ERR_SOSWAP_TRUNCATED', 2]);
  t.equal(watched.line, 2222);
});

t.test('what was replaced between open() and watch() is swapped', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, versionOf);
  renameSync(two, path);
  const swapped = once(so, 'swap', soon());
  using _watch = so.watch({ persistent: true });
  await swapped;
  t.equal(so.functions.version?.(), 'build 2222');
  so.close();
});

t.test('a change during a swap is swapped after it, and no change twice', async (t) => {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, versionOf);
  const { promise: opened, resolve: open } = promiseApart();
  let verified = 0;
  const verify = async () => {
    verified++;
    await opened;
  };
  using _watch = so.watch({ settle: 10, persistent: true, swap: { verify } });
  const generations: number[] = [];
  so.on('swap', ({ generation }) => generations.push(generation));
  renameSync(two, path);
  await until('the swap has begun', () => verified === 1);
  copyFileSync(one, path);
  await witness.passed();
  t.same([verified, generations], [1, []], 'one swap at a time');
  open();
  await until('there are two swaps', () => generations.length >= 2);
  await witness.passed();
  t.same([verified, generations], [2, [2, 3]]);
  t.equal(so.functions.version?.(), 'build 1111');
  so.close();
});

function promiseApart() {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

t.test('a swap that the program makes itself is not made again', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const watched = new Watched(t, path, 10);
  renameSync(two, path);
  await watched.so.swap({ verify: () => witness.passed() });
  await witness.passed();
  t.same(watched.events, [2]);
  t.equal(watched.line, 2222);
});

for (const what of ['the handle', 'the watch']) {
  t.test(`closing ${what} ends the watch`, async (t) => {
    const { so: path, two } = copyBuilds(builds, t.testdir());
    const so = SoHandle.open(path, versionOf);
    const events: unknown[] = [];
    so.on('swap', ({ generation }) => events.push(generation));
    so.on('refused', ({ code }) => events.push(code));
    const watch = so.watch({ settle: 10 });
    copyFileSync(two, path);
    if (what === 'the watch') watch.close();
    else so.close();
    await witness.passed();
    writeFileSync(path, 'rubbish');
    await witness.passed();
    t.same(events, []);
    watch.close(); // does nothing more
    so.close();
  });
}

t.test('a closed handle cannot be watched, and options are checked', async (t) => {
  const so = SoHandle.open(builds.one);
  t.throws(() => so.watch({ settle: -1 }), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => so.watch({ settle: '5' as unknown as number }), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => so.watch({ swap: { timeout: -1 } }), { code: 'ERR_OUT_OF_RANGE' });
  so.close();
  t.throws(() => so.watch(), { code: 'ERR_SOSWAP_CLOSED' });
});

t.test('a watch keeps the process alive only if it is persistent', async (t) => {
  const program = (options: string, milliseconds: number) => `
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('./so.so');
    so.watch(${options});
    setTimeout(() => {
      console.log('still alive');
      so.close();
    }, ${milliseconds}).unref();
  `;
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  t.match(await runProgram(program('', 60_000), { cwd }), { ...exitedCleanly, stdout: '' });
  t.match(await runProgram(program('{ persistent: true }', 100), { cwd }), {
    ...exitedCleanly,
    stdout: 'still alive\n',
  });
});

t.test('two handles that watch the same file swap once each', async (t) => {
  const { so, two } = copyBuilds(builds, t.testdir());
  const both = [new Watched(t, so), new Watched(t, so, 80)];
  copyFileSync(two, so);
  await Promise.all(both.map((each) => each.told(1)));
  await witness.passed();
  for (const watched of both) {
    t.same(watched.events, [2]);
    t.equal(watched.line, 2222);
    t.equal(watched.so.image?.buildId, buildIdOf(two));
  }
});

t.test('what a listener throws is not taken for a refusal', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `
    import { renameSync } from 'node:fs';
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('./so.so');
    so.on('swap', () => { throw new Error('of the listener'); });
    so.on('refused', ({ message }) => console.log(message));
    so.watch({ persistent: true });
    renameSync('so2.so', 'so.so');
    process.on('uncaughtException', ({ message }) => {
      console.log(message);
      so.close();
    });
  `;
  t.match(await runProgram(program, { cwd }), { ...exitedCleanly, stdout: 'of the listener\n' });
});

t.test('where no directory can be watched, the file is looked at every second', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `
    import { once } from 'node:events';
    import { copyFileSync, renameSync, utimesSync } from 'node:fs';
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('./so.so', { version: { return: 'string' } });
    // It is looked at after the first, settles later, and so comes to its swap after all that the first does.
    copyFileSync('so1.so', 'witness.so');
    const witness = SoHandle.open('./witness.so');
    const events = [];
    so.on('swap', ({ generation }) => events.push(generation, so.functions.version()));
    so.on('refused', ({ code }) => events.push(code));
    so.watch({ settle: 10, persistent: true });
    witness.watch({ settle: 100, persistent: true });
    copyFileSync('so2.so', 'so.so');
    await once(so, 'swap');
    utimesSync('so.so', 1, 1); // which is no replacement
    renameSync('so2.so', 'witness.so');
    await once(witness, 'swap');
    process.send(events);
    so.close();
    witness.close(); // and nothing keeps the process alive
  `;
  const faults = compile('faults.c', join(cwd, 'faults.so'));
  const env = { LD_PRELOAD: faults, SOSWAP_TEST_NO_INOTIFY: '1' };
  const ended = await runProgram(program, { cwd, env });
  t.match(ended, exitedCleanly);
  t.same(ended.messages, [[2, 'build 2222']]);
});

t.test('a touched file is compared on another thread', { skip: noThreadIo }, async (t) => {
  const directory = t.testdir();
  const filler = join(directory, 'filler.c');
  writeFileSync(filler, 'const char filler[20000000] = {1};');
  const path = compile('action.c', join(directory, 'so.so'), '-DLINE=1111', filler);
  const { size } = statSync(path);
  const watched = new Watched(t, path, 10);
  const before = [bytesRead('self'), bytesRead(mainThread)] as const;
  utimesSync(path, 1, 1);
  await until('the file is read', () => bytesRead('self') >= before[0] + size);
  t.ok(bytesRead(mainThread) < before[1] + size / 2, 'this thread went on');
  await witness.passed();
  t.same(watched.events, [], 'the bytes are the same');
  copyFileSync(builds.two, path);
  await watched.told(1);
  t.same(watched.events, [2]);
});

t.test('a file that is touched again and again by its writers is not swapped', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const watched = new Watched(t, path, 10);
  for (let round = 0; round < 20; round++) {
    // It has the same bytes, but is open for writing when the watch comes to look.
    const file = await open(path, 'r+');
    await file.utimes(1, round);
    await sleep(30);
    await file.close();
  }
  await witness.passed();
  t.same(watched.events, []);
  renameSync(two, path);
  await watched.told(1);
  t.same(watched.events, [2]);
});

t.test('a storm of replacements by two writers ends on the last version', async (t) => {
  const campaign = fileURLToPath(new URL('campaigns/storm.js', import.meta.url));
  const ended = await runNode([campaign, '--json', '--replacements', '60'], { cwd: root });
  t.match(ended, exitedCleanly);
  const figures = JSON.parse(ended.stdout);
  t.match(figures, { replacements: 60, wrongValues: 0, current: true });
  t.ok(figures.swaps > 0 && figures.workerSwaps > 0 && figures.calls > 0, ended.stdout);
});
