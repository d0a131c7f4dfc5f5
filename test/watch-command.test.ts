import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  readFileSync,
  renameSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { buildIdOf, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { main, Running } from '../fixtures/running.js';

const builds = twoBuilds(t.testdir());

t.test('watch prints a line and runs the command for each complete replacement', async (t) => {
  const files = t.testdir();
  const { one, two, so } = copyBuilds(builds, files);
  const exec = 'echo "run for $SOSWAP_PATH"';
  const watch = new Running([main, 'watch', so, '--exec', exec, '--settle', '20'], files);
  await watching(watch);

  copyFileSync(two, so);
  await watch.says(new RegExp(`^replaced: ${so}, .*build ${buildIdOf(two)}\nrun for ${so}\n$`));
  writeFileSync(so, 'rubbish');
  await watch.complains(/^soswap: .*so\.so.*not an ELF file\n$/);
  const since = watch.stdout.length;
  renameSync(one, so);
  await watch.says(
    new RegExp(`^replaced: ${so}, .*build ${buildIdOf(so)}\nrun for ${so}\n$`),
    since,
  );
  const ended = await watch.end('SIGINT');
  t.match(ended, { code: 130, signal: null });
  t.equal(ended.stdout.match(/^replaced/gm)?.length, 2);
});

t.test('watch tells of a command that fails, and goes on', async (t) => {
  const files = t.testdir();
  const { one, two, so } = copyBuilds(builds, files);
  const watch = new Running([main, 'watch', so, '--exec', 'exit 3', '--json'], files);
  await watching(watch);
  renameSync(two, so);
  await watch.complains(/^soswap: 'exit 3' failed: exit code 3\n$/);
  const since = watch.stdout.length;
  renameSync(one, so);
  t.match(JSON.parse(await watch.says(/\n/, since)), { path: so, buildId: buildIdOf(so) });
  t.match(await watch.end('SIGINT'), { code: 130 });
});

/** Resolves when the process has its inotify watches. */
async function watching({ child }: Running): Promise<void> {
  const script = `cat /proc/${child.pid}/fdinfo/* 2>/dev/null | grep -q ^inotify`;
  while (spawnSync('sh', ['-c', script]).status !== 0 && child.exitCode === null) {
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** Whether a process has ended; its parent may not have looked yet. */
function hasEnded(pid: string): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return true;
  }
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  t.test(`${signal} ends watch, the command, and what that has started`, async (t) => {
    const files = t.testdir();
    const { two, so } = copyBuilds(builds, files);
    const exec = 'sleep 1000 & echo "pids $$ $!"; wait; echo done';
    const watch = new Running([main, 'watch', so, '--exec', exec], files);
    await watching(watch);
    renameSync(two, so);
    const [, ...pids] = /pids (\d+) (\d+)\n/.exec(await watch.says(/pids .*\n/)) ?? [];
    t.same(pids.map(hasEnded), [false, false]);
    const ended = await watch.end(signal);
    t.match(ended, { code, signal: null, stderr: '' });
    t.notMatch(ended.stdout, 'done');
    while (!pids.every(hasEnded)) await sleep(10); // which a timeout of tap ends
  });
}

t.test('a command that does not listen is killed', async (t) => {
  const files = t.testdir();
  const { two, so } = copyBuilds(builds, files);
  const exec = "trap '' TERM INT; echo pid $$; while :; do sleep 1; done";
  const watch = new Running([main, 'watch', so, '--exec', exec], files);
  await watching(watch);
  renameSync(two, so);
  const [, pid = ''] = /pid (\d+)\n/.exec(await watch.says(/pid .*\n/)) ?? [];
  t.match(await watch.end('SIGINT'), { code: 130, signal: null, stderr: '' });
  while (!hasEnded(pid)) await sleep(10);
});

t.test(
  'the command runs once more for what came while it ran, and not for the same bytes',
  async (t) => {
    const files = t.testdir();
    const { one, two, so } = copyBuilds(builds, files);
    const exec = 'echo begin; while [ ! -e go ]; do sleep 0.02; done; rm go; echo end';
    const watch = new Running([main, 'watch', so, '--exec', exec, '--settle', '20'], files);
    await watching(watch);
    copyFileSync(two, so);
    await watch.says(/begin/);
    for (const build of [one, two, one]) {
      copyFileSync(build, so);
      await sleep(60);
    }
    writeFileSync(join(files, 'go'), '');
    await watch.says(/end\n[\s\S]*begin\n/);
    writeFileSync(join(files, 'go'), '');
    await watch.says(/end\n[\s\S]*end\n/);
    utimesSync(so, 1, 1);
    copyFileSync(one, so);
    await sleep(300);
    const { stdout } = await watch.end('SIGINT');
    t.equal(stdout.match(/^begin$/gm)?.length, 2);
    const ids = [...stdout.matchAll(/build (\w+)$/gm)].map(([, id]) => id);
    t.same(ids, [buildIdOf(two), buildIdOf(one)]);
  },
);

t.test('the file may vanish and come back, and have a strange name', async (t) => {
  const files = t.testdir();
  const { one, two } = copyBuilds(builds, files);
  const so = join(files, `it's "$HOME"\n.so`);
  copyFileSync(one, so);
  const watch = new Running(
    [main, 'watch', so, '--exec', 'cp "$SOSWAP_PATH" seen.so; echo ran', '--json'],
    files,
  );
  await watching(watch);
  unlinkSync(so);
  await sleep(200);
  t.equal(existsSync(join(files, 'seen.so')), false);
  renameSync(two, so);
  const [line = ''] = (await watch.says(/\nran\n/)).split('\n');
  const { path, buildId, size, inode } = JSON.parse(line);
  t.same(
    { path, buildId, size },
    { path: so, buildId: buildIdOf(so), size: readFileSync(so).length },
  );
  t.match(inode, /^\d+$/);
  t.same(readFileSync(join(files, 'seen.so')), readFileSync(so));
  t.match(await watch.end('SIGINT'), { code: 130, stderr: '' });
});
