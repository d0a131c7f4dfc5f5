import { copyFileSync, renameSync } from 'node:fs';
import t from 'tap';
import { buildIdOf, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, main, Running, runSoswap } from '../fixtures/child.js';

const directory = t.testdir();
const builds = twoBuilds(directory);
const soswap = (...args: string[]) => runSoswap(args, { cwd: directory });

t.test('loaded shows what a process runs that has no name', async (t) => {
  const { so } = copyBuilds(builds, t.testdir());
  const args = ['run', so, 'count', '--interval', '20'];
  const run = new Running([main, ...args], { cwd: directory });
  await run.says(/1\n2\n/);
  const pid = String(run.child.pid);
  t.match(await soswap('loaded', '--pid', pid), {
    ...exitedCleanly,
    stdout: new RegExp(`\nso\\.so +snapshot +\\d+ +${buildIdOf(so).slice(0, 8)} +0x`),
  });
  const json = await soswap('loaded', '--pid', pid, '--json');
  t.match(json, exitedCleanly);
  t.match(JSON.parse(json.stdout), [
    { name: 'so.so', kind: 'copy', path: null, buildId: buildIdOf(so), base: /^\d+$/ },
  ]);
  await run.end('SIGINT');
  t.match(await soswap('loaded', '--pid', pid), {
    code: 1,
    signal: null,
    stdout: '',
    stderr: /^soswap: .*process.*\n$/,
  });
});

t.test('loaded shows libraries whose files are gone', async (t) => {
  const { so, two } = copyBuilds(builds, t.testdir());
  const program = `
    import { dlopen } from 'soswap/dl';
    dlopen('${so}');
    console.log('loaded');
    setInterval(() => {}, 1000);
  `;
  const args = ['--input-type=module', '--eval', program];
  const holder = new Running(args, { cwd: directory });
  await holder.says(/loaded/);
  const pid = String(holder.child.pid);
  const none = await soswap('loaded', '--pid', pid, '--json');
  t.match(none, { ...exitedCleanly, stdout: '[]\n' });
  copyFileSync(two, `${so}.next`);
  renameSync(`${so}.next`, so);
  const json = await soswap('loaded', '--pid', pid, '--json');
  t.match(json, exitedCleanly);
  const images = JSON.parse(json.stdout);
  t.match(images, [{ name: 'so.so', kind: 'gone', path: so }]);
  t.equal(images.length, 1);
  t.match(await holder.end('SIGKILL'), { code: null, signal: 'SIGKILL' });
});
