import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  readFileSync,
  renameSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { buildIdOf, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { main, Running } from '../fixtures/child.js';
import { until } from '../fixtures/until.js';

const builds = twoBuilds(t.testdir());

/** An `soswap watch` of a file in a directory, when its watch has begun. */
async function watch(so: string, directory: string, ...options: string[]): Promise<Running> {
  const running = new Running([main, 'watch', so, ...options], { cwd: directory });
  const script = `cat /proc/${running.child.pid}/fdinfo/* 2>/dev/null | grep -q ^inotify`;
  const isWatching = () => spawnSync('sh', ['-c', script]).status === 0;
  await until('the command watches', () => isWatching() || running.child.exitCode !== null);
  return running;
}

/**
 * Another watch, that settles later, of another file: what it prints comes after what any watch does about the changes
 * until now.
 */
async function witness(directory: string) {
  const { so } = copyBuilds(builds, directory);
  const running = await watch(so, directory, '--settle', '200');
  let times = 0;
  return {
    async passed() {
      const since = running.stdout.length;
      copyFileSync(times++ % 2 === 0 ? builds.two : builds.one, so);
      await running.says(/^replaced/, since);
    },
    end: () => running.end('SIGINT'),
  };
}

t.test('watch prints a line and runs the command for each complete replacement', async (t) => {
  const files = t.testdir();
  const { one, two, so } = copyBuilds(builds, files);
  const exec = 'echo "run for $SOSWAP_PATH"';
  const running = await watch(so, files, '--exec', exec, '--settle', '20');

  copyFileSync(two, so);
  await running.says(new RegExp(`^replaced: ${so}, .*build ${buildIdOf(two)}\nrun for ${so}\n$`));
  writeFileSync(so, 'rubbish');
  await running.complains(/^soswap: .*so\.so.*\n$/);
  const since = running.stdout.length;
  renameSync(one, so);
  await running.says(
    new RegExp(`^replaced: ${so}, .*build ${buildIdOf(so)}\nrun for ${so}\n$`),
    since,
  );
  const ended = await running.end('SIGINT');
  t.match(ended, { code: 130, signal: null, stderr: /^soswap: .*so\.so.*\n$/ });
  t.equal(ended.stdout.match(/^replaced/gm)?.length, 2);
});

t.test('watch reports a command that fails, and goes on', async (t) => {
  const files = t.testdir();
  const { one, two, so } = copyBuilds(builds, files);
  const running = await watch(so, files, '--exec', 'exit 3', '--json');
  renameSync(two, so);
  await running.complains(/^soswap: 'exit 3' .*3\n$/);
  const since = running.stdout.length;
  renameSync(one, so);
  t.match(JSON.parse(await running.says(/\n/, since)), { path: so, buildId: buildIdOf(so) });
  t.match(await running.end('SIGINT'), { code: 130, signal: null });
});

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
    const running = await watch(so, files, '--exec', exec);
    renameSync(two, so);
    const [, ...pids] = /pids (\d+) (\d+)\n/.exec(await running.says(/pids .*\n/)) ?? [];
    t.same(pids.map(hasEnded), [false, false]);
    const ended = await running.end(signal);
    t.match(ended, { code, signal: null, stderr: '' });
    t.notMatch(ended.stdout, 'done');
    await until('the command and its child have ended', () => pids.every(hasEnded));
  });
}

t.test('a command that does not listen is killed', async (t) => {
  const files = t.testdir();
  const { two, so } = copyBuilds(builds, files);
  const exec = "trap '' TERM INT; echo pid $$; while :; do sleep 1; done";
  const running = await watch(so, files, '--exec', exec);
  renameSync(two, so);
  const [, pid = ''] = /pid (\d+)\n/.exec(await running.says(/pid .*\n/)) ?? [];
  t.notOk(hasEnded(pid));
  t.match(await running.end('SIGINT'), { code: 130, signal: null, stderr: '' });
  await until('the command has ended', () => hasEnded(pid));
});

t.test(
  'the command runs once more for the changes while it ran, and not for the same bytes',
  async (t) => {
    const files = t.testdir({ witness: {} });
    const { one, two, so } = copyBuilds(builds, files);
    const { passed, end } = await witness(join(files, 'witness'));
    const exec = 'echo begin; while [ ! -e go ]; do sleep 0.02; done; rm go; echo end';
    const running = await watch(so, files, '--exec', exec, '--settle', '20');
    copyFileSync(two, so);
    await running.says(/begin/);
    for (const build of [one, two, one]) {
      copyFileSync(build, so);
      await passed();
    }
    t.equal(running.stdout.match(/^begin$/gm)?.length, 1, 'one at a time');
    const go = async (ended: RegExp) => {
      writeFileSync(join(files, 'go'), '');
      await running.says(ended);
    };
    await go(/end\n[\s\S]*begin\n/);
    await go(/end\n[\s\S]*end\n/);
    utimesSync(so, 1, 1);
    copyFileSync(one, so);
    await passed();
    copyFileSync(two, so);
    await running.says(/(begin[\s\S]*){3}/);
    await go(/(end[\s\S]*){3}/);
    const { stdout } = await running.end('SIGINT');
    t.equal(stdout.match(/^begin$/gm)?.length, 3);
    const ids = [...stdout.matchAll(/build (\w+)$/gm)].map(([, id]) => id);
    t.same(ids, [buildIdOf(two), buildIdOf(one), buildIdOf(two)]);
    await end();
  },
);

t.test('the file may vanish and come back, and have a strange name', async (t) => {
  const files = t.testdir({ witness: {} });
  const { one, two } = copyBuilds(builds, files);
  const { passed, end } = await witness(join(files, 'witness'));
  const so = join(files, `it's "$HOME"\n.so`);
  copyFileSync(one, so);
  const exec = 'cp "$SOSWAP_PATH" seen.so; echo ran';
  const running = await watch(so, files, '--exec', exec, '--json');
  unlinkSync(so);
  await passed();
  t.equal(running.stdout, '');
  renameSync(two, so);
  const said = await running.says(/\nran\n/);
  const [line = ''] = said.split('\n');
  const { path, buildId, size, inode } = JSON.parse(line);
  t.same(
    { path, buildId, size },
    { path: so, buildId: buildIdOf(so), size: readFileSync(so).length },
  );
  t.match(inode, /^\d+$/);
  t.same(readFileSync(join(files, 'seen.so')), readFileSync(so));
  t.match(await running.end('SIGINT'), { code: 130, signal: null, stdout: said, stderr: '' });
  await end();
});
