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
import { exitedCleanly, runNode, runProgram } from '../fixtures/child.js';
import {
  isMissing,
  noReplacements,
  type ReplacementTool,
  shell,
  tools,
} from '../fixtures/replacement-tools.js';
import { quiet, versionOf, Watched } from '../fixtures/watched.js';

const builds = twoBuilds(t.testdir());
const mainThread = `self/task/${process.pid}`;

/** What a process or a thread has read so far, proc(5). */
function bytesRead(whose: string): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${whose}/io`, 'utf8'))?.[1]);
}

const noThreadIo = !existsSync(`/proc/${mainThread}/io`) && 'the kernel does not count I/O';

async function replace(tool: ReplacementTool, directory: string): Promise<void> {
  if (typeof tool.replace === 'string') shell(directory, tool.replace);
  else await tool.replace(directory);
}

for (const tool of tools) {
  t.test(`${tool.name}: one swap, and the new code`, { skip: isMissing(tool) }, async (t) => {
    const directory = t.testdir();
    copyBuilds(builds, directory);
    if (tool.setup !== undefined) shell(directory, tool.setup);
    const watched = new Watched(join(directory, tool.path ?? 'so.so'));
    t.equal(watched.line, 1111);
    await replace(tool, directory);
    await watched.swapped(1);
    await sleep(quiet);
    t.same(watched.counts, [1, 0], 'one swap, nothing refused');
    t.equal(watched.line, tool.after ?? 2222);
    t.equal(watched.so.status(), 'current');
    watched.so.close();
  });
}

for (const tool of noReplacements) {
  t.test(`${tool.name}: no swap`, async (t) => {
    const directory = t.testdir();
    const { so, two } = copyBuilds(builds, directory);
    const watched = new Watched(so);
    await replace(tool, directory);
    await sleep(quiet);
    t.same(watched.counts, [0, 0]);
    t.equal(watched.line, 1111);
    copyFileSync(two, so);
    await watched.swapped(1);
    t.equal(watched.line, 2222, 'the watch goes on');
    watched.so.close();
  });
}

t.test('a file that vanishes is waited for', async (t) => {
  const { so, two } = copyBuilds(builds, t.testdir());
  const watched = new Watched(so);
  unlinkSync(so);
  await sleep(quiet);
  t.same(watched.counts, [0, 0]);
  t.equal(watched.line, 1111, 'the old code goes on');
  renameSync(two, so);
  await watched.swapped(1);
  t.equal(watched.line, 2222);
  watched.so.close();
});

t.test('a directory that vanishes is waited for, and watched when it is back', async (t) => {
  const directory = t.testdir();
  const { one, two } = copyBuilds(builds, directory);
  const path = join(directory, 'app/lib/so.so');
  shell(directory, 'mkdir -p app/lib; cp so1.so app/lib/so.so');
  const watched = new Watched(path);
  rmSync(join(directory, 'app'), { recursive: true });
  await sleep(quiet);
  t.same(watched.counts, [0, 0]);
  shell(directory, 'mkdir app; sleep 0.1; mkdir app/lib; sleep 0.1; cp so2.so app/lib/so.so');
  await watched.swapped(1);
  t.equal(watched.line, 2222);
  copyFileSync(one, path);
  await watched.swapped(2);
  t.equal(watched.line, 1111);
  renameSync(two, path);
  await watched.swapped(3);
  t.equal(watched.line, 2222);
  t.same(watched.counts, [3, 0]);
  watched.so.close();
});

t.test('a symbolic link is followed through every hop, also after it was flipped', async (t) => {
  const directory = t.testdir();
  copyBuilds(builds, directory);
  shell(
    directory,
    `mkdir v1 v2 deep; cp so1.so v1/so.so; cp so2.so v2/so.so
     ln -s ../v1 deep/current; ln -s deep/./current/../deep/current app`,
  );
  const watched = new Watched(join(directory, 'app/so.so'));
  const steps: [commands: string, line: number][] = [
    ['ln -sfn ../v2 deep/current', 2222],
    ['cp so1.so v2/so.so', 1111],
    ['mkdir v3; cp so2.so v3/so.so; ln -sfn v3 app', 2222],
    ['rm v3/so.so; ln -s ../so1.so v3/so.so', 1111],
    ['cp so2.so so1.so', 2222],
  ];
  for (const [index, [commands, line]] of steps.entries()) {
    shell(directory, commands);
    await watched.swapped(index + 1);
    t.equal(watched.line, line, commands);
  }
  await sleep(quiet);
  t.same(watched.counts, [steps.length, 0]);
  watched.so.close();
});

t.test('a refused candidate is told once, and tried again when it changes', async (t) => {
  const { so, two } = copyBuilds(builds, t.testdir());
  const watched = new Watched(so);
  writeFileSync(so, 'rubbish');
  await watched.refused(1);
  await sleep(quiet);
  t.same(watched.counts, [0, 1]);
  writeFileSync(so, 'other rubbish');
  await watched.refused(2);
  t.equal(watched.line, 1111, 'the old code goes on');
  writeFileSync(so, readFileSync(two).subarray(0, 5000));
  await watched.refused(3);
  t.match(watched.refusals, [
    { code: 'ERR_SOSWAP_NOT_ELF', path: so },
    { code: 'ERR_SOSWAP_NOT_ELF' },
    { code: 'ERR_SOSWAP_TRUNCATED' },
  ]);
  copyFileSync(two, so);
  await watched.swapped(1);
  await sleep(quiet);
  t.same(watched.counts, [1, 3]);
  t.equal(watched.line, 2222);
  watched.so.close();
});

t.test('what was replaced between open() and watch() is swapped', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, versionOf);
  renameSync(two, path);
  const swapped = once(so, 'swap', { signal: AbortSignal.timeout(30_000) });
  using _watch = so.watch({ persistent: true });
  await swapped;
  t.equal(so.functions.version?.(), 'build 2222');
  so.close();
});

t.test('a change during a swap is swapped after it, and no change twice', async (t) => {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, versionOf);
  let swaps = 0;
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const started = new Promise<void>((resolve) => {
    so.watch({
      settle: 10,
      persistent: true,
      swap: {
        verify: async () => {
          resolve();
          await opened;
        },
      },
    });
  });
  so.on('swap', () => swaps++);
  renameSync(two, path);
  await started;
  copyFileSync(one, path);
  await sleep(quiet);
  t.equal(swaps, 0);
  open();
  while (swaps < 2) await once(so, 'swap', { signal: AbortSignal.timeout(30_000) });
  await sleep(quiet);
  t.equal(swaps, 2);
  t.equal(so.functions.version?.(), 'build 1111');
  so.close();
});

t.test('a swap that the program makes itself is not made again', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const watched = new Watched(path, 10);
  renameSync(two, path);
  await watched.so.swap({ verify: () => sleep(quiet) });
  await sleep(quiet);
  t.same(watched.counts, [1, 0]);
  t.equal(watched.line, 2222);
  watched.so.close();
});

t.test('closing the handle or the watch ends the watch', async (t) => {
  for (const what of ['handle', 'watch'] as const) {
    const { so: path, two } = copyBuilds(builds, t.testdir(what === 'watch' ? { x: '' } : {}));
    const so = SoHandle.open(path, versionOf);
    const told: unknown[] = [];
    so.on('swap', (report) => told.push(report));
    so.on('refused', (error) => told.push(error));
    const watch = so.watch({ settle: 10 });
    copyFileSync(two, path);
    if (what === 'watch') watch.close();
    else so.close();
    await sleep(quiet);
    writeFileSync(path, 'rubbish');
    await sleep(quiet);
    t.same(told, [], what);
    watch.close(); // does nothing more
    so.close();
  }
});

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
  t.match(await runProgram(program('{ persistent: true }', quiet), { cwd }), {
    ...exitedCleanly,
    stdout: 'still alive\n',
  });
});

t.test('two handles that watch the same file swap once each', async (t) => {
  const { so, two } = copyBuilds(builds, t.testdir());
  const both = [new Watched(so), new Watched(so, 80)];
  copyFileSync(two, so);
  await Promise.all(both.map((each) => each.swapped(1)));
  await sleep(quiet);
  for (const watched of both) {
    t.same(watched.counts, [1, 0]);
    t.equal(watched.line, 2222);
    t.equal(watched.so.image?.buildId, buildIdOf(two));
    watched.so.close();
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
    import { copyFileSync, renameSync } from 'node:fs';
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('./so.so', { version: { return: 'string' } });
    let swaps = 0;
    so.on('swap', () => swaps++);
    so.on('refused', process.send);
    so.watch({ settle: 10, persistent: true });
    copyFileSync('so2.so', 'so.so');
    await once(so, 'swap');
    process.send(so.functions.version());
    renameSync('so1.so', 'so.so');
    await once(so, 'swap');
    process.send(so.functions.version());
    await new Promise((done) => setTimeout(done, 1500));
    process.send(swaps);
    so.close(); // and nothing keeps the process alive
  `;
  const faults = compile('faults.c', join(cwd, 'faults.so'));
  const env = { LD_PRELOAD: faults, SOSWAP_TEST_NO_INOTIFY: '1' };
  t.match(await runProgram(program, { cwd, env }), {
    ...exitedCleanly,
    messages: ['build 2222', 'build 1111', 2],
  });
});

t.test('a touched file is compared on another thread', { skip: noThreadIo }, async (t) => {
  const directory = t.testdir();
  const filler = join(directory, 'filler.c');
  writeFileSync(filler, 'const char filler[20000000] = {1};');
  const path = compile('action.c', join(directory, 'so.so'), '-DLINE=1111', filler);
  const { size } = statSync(path);
  const watched = new Watched(path, 10);
  const before = [bytesRead('self'), bytesRead(mainThread)] as const;
  utimesSync(path, 1, 1);
  while (bytesRead('self') < before[0] + size) await sleep(10);
  t.ok(bytesRead(mainThread) < before[1] + size / 2, 'this thread went on');
  await sleep(quiet);
  t.same(watched.counts, [0, 0], 'the bytes are the same');
  watched.so.close();
});

t.test('a file that is touched again and again by its writers is not swapped', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const watched = new Watched(path, 10);
  for (let round = 0; round < 20; round++) {
    // It has the same bytes, but is open for writing when the watch comes to look.
    const file = await open(path, 'r+');
    await file.utimes(1, round);
    await sleep(30);
    await file.close();
  }
  await sleep(quiet);
  t.same(watched.counts, [0, 0]);
  watched.so.close();
});

t.test('a storm of replacements by two writers ends on the last version', async (t) => {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const campaign = fileURLToPath(new URL('campaigns/storm.js', import.meta.url));
  const ended = await runNode([campaign, '--json', '--replacements', '60'], { cwd: root });
  t.match(ended, exitedCleanly);
  const figures = JSON.parse(ended.stdout);
  t.match(figures, { replacements: 60, wrongValues: 0, current: true });
  t.ok(figures.swaps > 0 && figures.workerSwaps > 0 && figures.calls > 0, ended.stdout);
});
