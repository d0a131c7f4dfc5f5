import { spawnSync } from 'node:child_process';
import { copyFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { SoHandle, type WatchOptions } from 'soswap';
import t from 'tap';
import { compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, main, plainNode, Running, runProgram } from '../fixtures/child.js';

// Watching where inotify(7) reports nothing.

const directory = t.testdir();
const builds = twoBuilds(directory);
const LD_PRELOAD = compile('faults.c', `${directory}/faults.so`);

/** Watches with these options, and replaces the file. */
const program = (options: string, replaces: string) => `
  import { once } from 'node:events';
  import { copyFileSync, renameSync } from 'node:fs';
  import { setTimeout as sleep } from 'node:timers/promises';
  import { SoHandle } from 'soswap';
  const so = SoHandle.open('./so.so', { version: { return: 'string' } });
  so.watch({ settle: 10, persistent: true, ...${options} });
  await sleep(200); // after the look of a watch that begins
  ${replaces};
  await Promise.race([once(so, 'swap'), sleep(4000)]);
  process.send(so.functions.version());
  so.close();
`;
const replaced = "renameSync('so2.so', 'so.so')";
const nfs = { SOSWAP_TEST_FILE_SYSTEM: '0x6969' };

const cases: [string, string, object, string][] = [
  ['with poll: 50', '{ poll: 50 }', {}, 'build 2222'],
  ['with poll: true', '{ poll: true }', {}, 'build 2222'],
  ['on a file system that is known to be silent', '{}', nfs, 'build 2222'],
  ['elsewhere, which proves that there are no events', '{}', {}, 'build 1111'],
];
for (const [where, options, more, version] of cases) {
  t.test(`without events: ${where}, the running code is ${version}`, async (t) => {
    const cwd = t.testdir({ quiet: {} });
    copyBuilds(builds, cwd);
    const env = { LD_PRELOAD, SOSWAP_TEST_SILENT: `${cwd}/quiet`, ...more };
    const ended = await runProgram(program(options, replaced), { cwd, env });
    t.match(ended, { ...exitedCleanly, messages: [version] });
  });
}

for (const args of [
  ['watch', './so.so', '--exec', 'echo new'],
  ['run', './so.so', 'action', '--interval', '50', '--watch'],
]) {
  t.test(`soswap ${args[0]} has the option --poll`, async (t) => {
    const cwd = t.testdir({ quiet: {} });
    copyBuilds(builds, cwd);
    const env = { LD_PRELOAD, SOSWAP_TEST_SILENT: `${cwd}/quiet` };
    const running = new Running([main, ...args, '--settle', '10', '--poll', '50'], { cwd, env });
    t.teardown(() => running.child.kill('SIGKILL'));
    if (args[0] === 'run') await running.says(/1111/);
    else await new Promise((resolve) => setTimeout(resolve, 500));
    copyFileSync(`${cwd}/so2.so`, `${cwd}/so.so`);
    t.ok(await running.says(args[0] === 'run' ? /^2222/m : /^new/m));
    await running.end('SIGINT');
    const wrong = spawnSync(...plainNode([main, ...args, '--poll', '0']), {
      cwd,
      encoding: 'utf8',
    });
    t.match(wrong, { status: 2, stderr: /--poll must be a whole number, 1 or more/ });
  });
}

/** Runs a command where `origin.so` is mounted over `so.so`. */
function withMount(cwd: string, command: string, ...args: string[]) {
  const script = 'mount --bind origin.so so.so && exec "$0" "$@"';
  const unshare = ['--mount', 'sh', '-c', script, command, ...args];
  return spawnSync('unshare', unshare, { cwd, encoding: 'utf8' });
}

/** Why no file can be mounted over another; `false` if one can. */
function noMounts(): string | false {
  copyFileSync(builds.one, `${directory}/origin.so`);
  const { status, stderr } = withMount(directory, 'true');
  return status !== 0 && `needs mounts: ${stderr}`;
}

t.test('a file that is itself a mount point is polled', { skip: noMounts() }, async (t) => {
  const cwd = t.testdir({ elsewhere: {} });
  copyBuilds(builds, cwd);
  copyFileSync(builds.one, `${cwd}/elsewhere/so.so`);
  symlinkSync('elsewhere/so.so', `${cwd}/origin.so`);
  // Overwritten where it comes from: the directory of the mount point gets no event.
  const body = program('{}', "copyFileSync('so2.so', 'elsewhere/so.so')");
  writeFileSync(`${cwd}/program.mjs`, body.replace('process.send', 'console.log'));
  const ended = withMount(cwd, ...(plainNode(['program.mjs']).flat() as [string, ...string[]]));
  t.match(ended, { status: 0, signal: null, stdout: 'build 2222\n' });
});

t.test('the option poll is checked', async (t) => {
  const so = SoHandle.open(builds.one);
  const watch = (poll: unknown) => so.watch({ poll } as WatchOptions);
  t.throws(() => watch(0), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => watch(-1), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => watch(Number.NaN), { code: 'ERR_OUT_OF_RANGE' });
  for (const poll of ['50', false, null]) {
    t.throws(() => watch(poll), { code: 'ERR_INVALID_ARG_TYPE' });
  }
  so.close();
});
