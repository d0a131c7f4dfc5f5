import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, importUntil, plainNode, runProgram } from '../fixtures/child.js';
import { beginning, isAlive, pidsIn } from '../fixtures/quarantine.js';
import { until } from '../fixtures/until.js';

// The child process in which a candidate is loaded first.

const directory = t.testdir();
const builds = twoBuilds(directory);
const code = 'ERR_SOSWAP_QUARANTINE';
const begins = beginning(directory);

for (const [end, expected] of [
  ['process.exit(5)', { code: 5, signal: null }],
  ["process.kill(process.pid, 'SIGKILL')", { code: null, signal: 'SIGKILL' }],
] as const) {
  t.test(`the child does not outlive a program that ends with ${end}`, async (t) => {
    const cwd = t.testdir();
    const { so: path } = copyBuilds(builds, cwd);
    const hanging = begins('tell_pid(); for (;;) pause()');
    const program = `
      import { copyFileSync, statSync } from 'node:fs';
      import { SoHandle } from 'soswap';
      ${importUntil}
      const so = SoHandle.open('${path}');
      copyFileSync('${hanging}', '${path}');
      so.swap({ quarantine: { timeout: 1e9 } });
      const told = () => statSync('${cwd}/pids', { throwIfNoEntry: false })?.size > 0;
      await until('the constructor has begun', told);
      ${end};
    `;
    const env = { SOSWAP_TEST_PID: `${cwd}/pids` };
    t.match(await runProgram(program, { cwd, env }), expected);
    const [pid] = pidsIn(`${cwd}/pids`);
    t.type(pid, 'number');
    await until('the child has ended', () => !isAlive(pid!));
  });
}

t.test('the child ends when the handle is closed', async (t) => {
  const cwd = t.testdir();
  const { so: path } = copyBuilds(builds, cwd);
  const hanging = begins('tell_pid(); for (;;) pause()');
  const program = `
    import { copyFileSync, statSync } from 'node:fs';
    import { SoHandle } from 'soswap';
    ${importUntil}
    const so = SoHandle.open('${path}');
    copyFileSync('${hanging}', '${path}');
    const swap = so.swap({ quarantine: { timeout: 1e9 } }).catch(({ code }) => process.send(code));
    const told = () => statSync('${cwd}/pids', { throwIfNoEntry: false })?.size > 0;
    await until('the constructor has begun', told);
    so.close();
    await swap;
  `;
  const env = { SOSWAP_TEST_PID: `${cwd}/pids` };
  const ended = await runProgram(program, { cwd, env });
  t.match(ended, { ...exitedCleanly, messages: ['ERR_SOSWAP_CLOSED'] });
  const pids = pidsIn(`${cwd}/pids`);
  t.equal(pids.length, 1, 'no second one was started');
  await until('the child has ended', () => !isAlive(pids[0]!));
});

/** Runs a command as one that may write a core file of any size. */
const withCores = (cwd: string, ...command: string[]) =>
  spawnSync('sh', ['-c', 'ulimit -S -c "$(ulimit -H -c)"; exec "$0" "$@"', ...command], {
    cwd,
    encoding: 'utf8',
  });

/** Why nothing here leaves a core file behind, core(5); `false` if something does. */
function noCores(): string | false {
  const cwd = `${directory}/cores`;
  mkdirSync(cwd);
  withCores(cwd, 'sh', '-c', 'kill -ABRT $$');
  const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim();
  return readdirSync(cwd).length === 0 && `core files go nowhere: ${pattern}`;
}

t.test('a candidate that crashes in quarantine leaves no core', { skip: noCores() }, async (t) => {
  const cwd = t.testdir();
  const { so: path } = copyBuilds(builds, cwd);
  const program = `
    import { copyFileSync } from 'node:fs';
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('${path}');
    copyFileSync('${begins('abort()')}', '${path}');
    await so.swap({ quarantine: true }).catch(({ code }) => console.log(code));
  `;
  writeFileSync(`${cwd}/program.mjs`, program);
  const names = readdirSync(cwd);
  const ended = withCores(cwd, ...plainNode(['program.mjs']).flat());
  t.match(ended, { status: 0, signal: null, stdout: `${code}\n`, stderr: '' });
  t.same(readdirSync(cwd), names);
});

t.test('quarantine needs no temporary directory', async (t) => {
  const cwd = t.testdir();
  const { so: path } = copyBuilds(builds, cwd);
  const program = `
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('${path}');
    so.swapSync({ quarantine: true });
    await so.swap({ quarantine: true });
    process.send(so.generation);
  `;
  const ended = await runProgram(program, { cwd, env: { TMPDIR: '/nowhere' } });
  t.match(ended, { ...exitedCleanly, messages: [3] });
});

t.test(
  'where no child process can be started, a candidate is refused, and nothing waits',
  async (t) => {
    const cwd = t.testdir();
    const { so: path } = copyBuilds(builds, cwd);
    const program = `
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('${path}');
    process.execPath = '/nowhere';
    await so.swap({ quarantine: { timeout: 1e9 } }).catch(({ code }) => process.send(code));
  `;
    const ended = await runProgram(program, { cwd });
    t.match(ended, { ...exitedCleanly, messages: [code] });
  },
);
