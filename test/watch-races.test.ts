import { once } from 'node:events';
import { copyFileSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SoHandle } from 'soswap';
import t from 'tap';
import { buildIdOf, compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';
import { Gate } from '../fixtures/gate.js';
import { shell } from '../fixtures/replacement-tools.js';
import { quiet, versionOf, Watched } from '../fixtures/watched.js';

const builds = twoBuilds(t.testdir());
const soon = () => ({ signal: AbortSignal.timeout(30_000) });

t.test('a watch that begins while the file is missing swaps when it comes', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, versionOf);
  unlinkSync(path);
  using _watch = so.watch({ settle: 10, persistent: true });
  await sleep(quiet);
  t.equal(so.generation, 1);
  const swapped = once(so, 'swap', soon());
  renameSync(two, path);
  await swapped;
  t.equal(so.functions.version?.(), 'build 2222');
  so.close();
});

t.test('a path that becomes a loop of symbolic links is waited for', async (t) => {
  const directory = t.testdir();
  const { so, two } = copyBuilds(builds, directory);
  const watched = new Watched(so, 10);
  shell(directory, 'rm so.so; ln -s so.so other.so; ln -s other.so so.so');
  await sleep(quiet);
  t.same(watched.counts, [0, 0]);
  t.equal(watched.line, 1111);
  renameSync(two, join(directory, 'other.so'));
  await watched.swapped(1);
  t.equal(watched.line, 2222);
  watched.so.close();
});

t.test(
  'a directory of the path may be moved away and back, replaced by a file, and by a link',
  async (t) => {
    const directory = t.testdir();
    copyBuilds(builds, directory);
    shell(directory, 'mkdir -p a/b v2/b; cp so1.so a/b/so.so; cp so2.so v2/b/so.so');
    const watched = new Watched(join(directory, 'a/b/so.so'), 10);
    shell(directory, 'mv a away; sleep 0.1; mv away a');
    await sleep(quiet);
    t.same(watched.counts, [0, 0], 'it is the same file');
    shell(directory, 'mv a away; echo text > a; sleep 0.1; rm a; ln -s v2 a');
    await watched.swapped(1);
    t.equal(watched.line, 2222);
    shell(directory, 'cp so1.so v2/b/so.so');
    await watched.swapped(2);
    shell(directory, 'rm a; mv away a');
    await watched.swapped(3);
    t.equal(watched.line, 1111);
    await sleep(quiet);
    t.same(watched.counts, [3, 0]);
    watched.so.close();
  },
);

t.test('a library in a directory of its own name', async (t) => {
  const directory = t.testdir({ 'so.so': {} });
  const path = join(directory, 'so.so/so.so');
  copyFileSync(builds.one, path);
  const watched = new Watched(path, 10);
  for (const [index, build] of [builds.two, builds.one, builds.two].entries()) {
    shell(directory, `cp '${build}' so.so/next; mv so.so/next so.so/so.so`);
    await watched.swapped(index + 1);
  }
  t.equal(watched.line, 2222);
  watched.so.close();
});

t.test('the handle may be closed by a listener', async (t) => {
  for (const event of ['swap', 'refused'] as const) {
    const { so: path, two } = copyBuilds(builds, t.testdir(event === 'swap' ? {} : { x: '' }));
    const so = SoHandle.open(path, versionOf);
    so.watch({ settle: 10, persistent: true });
    const { version } = so.functions;
    let told = 0;
    const closed = new Promise<void>((resolve) => {
      so.on(event, () => {
        told++;
        so.close();
        resolve();
      });
    });
    if (event === 'swap') copyFileSync(two, path);
    else writeFileSync(path, 'rubbish');
    await closed;
    copyFileSync(two, path);
    await sleep(quiet);
    t.equal(told, 1);
    t.equal(so.closed, true);
    t.throws(() => version?.(), { code: 'ERR_SOSWAP_CLOSED' });
  }
});

t.test('two watches of one handle swap once for each replacement', async (t) => {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  const watched = new Watched(path, 10);
  const other = watched.so.watch({ settle: 20, persistent: true });
  copyFileSync(two, path);
  await watched.swapped(1);
  await sleep(quiet);
  t.same(watched.counts, [1, 0]);
  writeFileSync(path, 'rubbish');
  await watched.refused(2); // once by each
  other.close();
  copyFileSync(one, path);
  await watched.swapped(2);
  await sleep(quiet);
  t.same(watched.counts, [2, 2]);
  watched.so.close();
});

t.test('swaps by hand and by the watch: one for each replacement', async (t) => {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  const watched = new Watched(path, 5);
  const { so } = watched;
  let wanted = 0;
  for (let round = 0; round < 40; round++) {
    const build = round % 2 === 0 ? two : one;
    shell(join(path, '..'), `cp '${build}' next; mv next so.so`);
    wanted++;
    // At any time: before the watch sees it, while it swaps, and after that.
    await sleep((round % 10) * 2);
    if (so.status() !== 'current') await so.swap();
    while (watched.swaps.length < wanted) await sleep(1);
    t.equal(so.image?.buildId, buildIdOf(path));
    const extra = watched.swaps.length - wanted;
    // A swap by hand that lines up behind that of the watch takes the same file once more.
    t.ok(extra <= 1, `round ${round}: ${extra}`);
    wanted += extra;
  }
  const { length } = watched.swaps;
  await sleep(quiet);
  t.equal(watched.swaps.length, length, 'the watch makes none of its own after one by hand');
  so.close();
});

t.test('swapSync() while the watch reads the file leaves nothing to swap', async (t) => {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  const watched = new Watched(path, 1);
  const { so } = watched;
  let byHand = 0;
  for (let round = 0; round < 60; round++) {
    // As many bytes, so that they must be compared.
    copyFileSync(round % 2 === 0 ? two : one, path);
    await sleep(round % 6);
    if (so.status() === 'current') continue;
    try {
      so.swapSync();
      byHand++;
    } catch (error) {
      t.match(error, { code: /BUSY|BEING_WRITTEN/ });
    }
    while (so.status() !== 'current') await sleep(1);
  }
  await sleep(quiet);
  t.ok(byHand > 0, `${byHand} by hand`);
  const ids = watched.swaps.map(({ current }) => current.buildId);
  t.ok(
    ids.every((id, index) => id !== ids[index - 1]),
    'no build was swapped for itself',
  );
  so.close();
});

t.test('a call that takes long is waited for, with no refusal', async (t) => {
  const directory = t.testdir();
  const path = compile('gate.c', join(directory, 'gate.so'), '-DLINE=1111');
  const next = compile('gate.c', join(directory, 'next.so'), '-DLINE=2222');
  const so = SoHandle.open(path, {
    pass: { arguments: ['buffer'], return: 'int32', nonblocking: true },
    version: { return: 'string' },
  });
  const told: unknown[] = [];
  so.on('swap', ({ generation }) => told.push(generation));
  so.on('refused', ({ code }) => told.push(code));
  const gate = new Gate();
  const call = so.functions.pass(gate.words);
  await gate.arrival();
  so.watch({ settle: 5, persistent: true, swap: { timeout: 20 } });
  renameSync(next, path);
  await sleep(quiet);
  t.same(told, []);
  t.equal(so.functions.version(), 'build 1111');
  const swapped = once(so, 'swap', soon());
  gate.open();
  t.equal(await call, 1111);
  await swapped;
  t.same(told, [2]);
  t.equal(so.functions.version(), 'build 2222');
  so.close();
});

t.test('a refusal that nobody listens to is a warning', async (t) => {
  const program = (trigger: string, listen: string) => `
    import { subscribe } from 'node:diagnostics_channel';
    import { writeFileSync } from 'node:fs';
    import { SoHandle, swapOnSignal } from 'soswap';
    const so = SoHandle.open('./so.so');
    const running = setInterval(() => {}, 1000);
    const end = () => {
      clearInterval(running);
      so.close();
    };
    const heard = () => setTimeout(end, ${quiet}); // for a warning that must not come
    ${listen}
    ${trigger}
    writeFileSync('so.so', 'rubbish');
    process.kill(process.pid, 'SIGHUP');
  `;
  const watch = "process.on('SIGHUP', () => {}); so.watch({ settle: 10 });";
  for (const trigger of [watch, "swapOnSignal('SIGHUP');"]) {
    const cwd = t.testdir(trigger === watch ? {} : { x: '' });
    const run = async (listen: string) => {
      copyBuilds(builds, cwd);
      return runProgram(program(trigger, listen), { cwd });
    };
    t.match(await run("process.on('warning', end);"), {
      code: 0,
      signal: null,
      stderr: /^\(node:\d+\) (\[ERR_SOSWAP_NOT_ELF\] )?SoError: .*not an ELF file\n/,
    });
    t.match(await run("so.on('refused', heard);"), exitedCleanly);
    t.match(await run("subscribe('soswap:refused', heard);"), exitedCleanly);
  }
});

t.test('a link that leads through the file itself', async (t) => {
  const directory = t.testdir();
  const { so, two } = copyBuilds(builds, directory);
  symlinkSync('so.so', join(directory, 'link.so'));
  const both = [new Watched(so, 10), new Watched(join(directory, 'link.so'), 10)];
  renameSync(two, so);
  await Promise.all(both.map((each) => each.swapped(1)));
  for (const each of both) each.so.close();
});
