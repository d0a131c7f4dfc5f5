import { spawnSync } from 'node:child_process';
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { SoHandle, type SwapOptions } from 'soswap';
import t from 'tap';
import { compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, plainNode, runProgram } from '../fixtures/child.js';
import { until } from '../fixtures/gate.js';

const directory = t.testdir();
const builds = twoBuilds(directory);
const definitions = { count: { return: 'int32' }, version: { return: 'string' } } as const;
const refused = { name: 'SoError', code: 'ERR_SOSWAP_QUARANTINE', rolledBack: false };

/** A build of action.c whose constructor does this. */
const begins = (name: string, begin: string) =>
  compile('begins.c', `${directory}/${name}.so`, '-DLINE=2222', `-DBEGIN=${begin}`);

/** Whether a process is there and is not a zombie. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** The processes that this one has started and that are there, zombies included. */
function children(): string[] {
  return readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').split(' ').filter(Boolean);
}

/** What the library tells into the file that `SOSWAP_TEST_PID` names. */
function pidsIn(file: string): number[] {
  try {
    return readFileSync(file, 'utf8').split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

const bad: [string, string, RegExp, SwapOptions['quarantine']?][] = [
  ['crashes', '*nowhere = 0', /SIGSEGV/],
  ['aborts', 'abort()', /SIGABRT/],
  ['kills the process', 'kill(getpid(), SIGKILL)', /SIGKILL/],
  ['exits with an error', 'exit(7)', /code 7/],
  ['exits', 'exit(0)', /ended the process/],
  ['exits without a word', '_exit(0)', /ended the process/],
  ['hangs', 'for (;;) pause()', /hung there for 300 ms/, { timeout: 300 }],
  ['runs for ever', 'for (volatile int i = 0;; i = 0) (void)i', /hung/, { timeout: 300 }],
  ['leaves a child and crashes', 'leave_child(); abort()', /SIGABRT/],
  ['leaves a child and hangs', 'leave_child(); for (;;) pause()', /hung/, { timeout: 1000 }],
];
for (const [what, begin, message, quarantine = true] of bad) {
  t.test(`a candidate whose constructor ${what} is refused`, async (t) => {
    const cwd = t.testdir();
    const { so: path, two } = copyBuilds(builds, cwd);
    const so = SoHandle.open(path, definitions);
    so.functions.count();
    copyFileSync(begins('bad', begin), path);
    const pids = `${cwd}/pids`;
    process.env.SOSWAP_TEST_PID = pids;
    t.throws(() => so.swapSync({ quarantine }), { ...refused, path, message });
    await t.rejects(so.swap({ quarantine }), { ...refused, path, message });
    t.same([so.generation, so.functions.version(), so.functions.count()], [1, 'build 1111', 2]);
    t.same(children(), []);
    await until(() => !pidsIn(pids).some(isAlive));

    copyFileSync(two, path);
    t.equal((await so.swap({ quarantine: true })).generation, 2);
    so.close();
  });
}

t.test('a candidate that the loader refuses is refused in its words', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  so.functions.count();
  compile('static-tls.c', path, '-DLINE=2222');
  const quarantine = true;
  t.throws(() => so.swapSync({ quarantine }), { ...refused, message: /static TLS/ });
  await t.rejects(so.swap({ quarantine }), { ...refused, message: /static TLS/ });
  t.same([so.generation, so.functions.count()], [1, 2], 'the old image was not closed');
  so.close();
});

for (const how of ['swapSync', 'swap'] as const) {
  t.test(`${how}(): a good candidate is loaded in a child, and then here`, async (t) => {
    const cwd = t.testdir();
    const { so: path } = copyBuilds(builds, cwd);
    const so = SoHandle.open(path, definitions);
    copyFileSync(begins('good', 'tell_pid()'), path);
    process.env.SOSWAP_TEST_PID = `${cwd}/pids`;
    const report = await so[how]({ quarantine: true });
    t.match(report, { generation: 2, unmapped: true });
    t.same([so.functions.version(), so.functions.count()], ['build 2222', 1]);
    const pids = pidsIn(`${cwd}/pids`);
    t.equal(pids.length, 2);
    t.not(pids[0], process.pid);
    t.equal(pids[1], process.pid);
    so.close();
  });
}

t.test('a candidate in quarantine is not loaded here before it is accepted', async (t) => {
  const cwd = t.testdir();
  const { so: path } = copyBuilds(builds, cwd);
  const so = SoHandle.open(path, definitions);
  copyFileSync(begins('bad', 'tell_pid(); abort()'), path);
  process.env.SOSWAP_TEST_PID = `${cwd}/pids`;
  const verify = () => t.fail('verify() was called');
  await t.rejects(so.swap({ quarantine: true, verify }), refused);
  t.throws(() => so.swapSync({ quarantine: true, verify }), refused);
  t.notOk(pidsIn(`${cwd}/pids`).includes(process.pid));
  so.close();
});

t.test('JavaScript runs, and calls are served, while a candidate is in quarantine', async (t) => {
  const cwd = t.testdir();
  const { so: path } = copyBuilds(builds, cwd);
  const so = SoHandle.open(path, definitions);
  copyFileSync(begins('slow', 'tell_pid(); wait_for_file()'), path);
  process.env.SOSWAP_TEST_PID = `${cwd}/pids`;
  process.env.SOSWAP_TEST_GATE = `${cwd}/gate`;
  const swap = so.swap({ quarantine: { timeout: 2 ** 40 } });
  await until(() => pidsIn(`${cwd}/pids`).length === 1);
  await nextTurn();
  t.same([so.functions.version(), so.functions.count()], ['build 1111', 1]);
  writeFileSync(`${cwd}/gate`, '');
  t.equal((await swap).generation, 2);
  t.equal(so.functions.version(), 'build 2222');
  so.close();
});

for (const [end, expected] of [
  ['process.exit(5)', { code: 5, signal: null }],
  ["process.kill(process.pid, 'SIGKILL')", { code: null, signal: 'SIGKILL' }],
] as const) {
  t.test(`the child does not outlive a program that ends with ${end}`, async (t) => {
    const cwd = t.testdir();
    const { so: path } = copyBuilds(builds, cwd);
    const hanging = begins('hanging', 'tell_pid(); for (;;) pause()');
    const program = `
      import { copyFileSync, statSync } from 'node:fs';
      import { SoHandle } from 'soswap';
      const so = SoHandle.open('${path}');
      copyFileSync('${hanging}', '${path}');
      so.swap({ quarantine: true });
      const told = () => statSync('${cwd}/pids', { throwIfNoEntry: false })?.size > 0;
      setInterval(() => { if (told()) ${end}; }, 5);
    `;
    const env = { SOSWAP_TEST_PID: `${cwd}/pids` };
    t.match(await runProgram(program, { cwd, env }), expected);
    const [pid] = pidsIn(`${cwd}/pids`);
    t.type(pid, 'number');
    await until(() => !isAlive(pid!));
  });
}

t.test('a library finds its dependencies in quarantine too', async (t) => {
  const cwd = t.testdir();
  const soname = 'libsoswap-below.so.1';
  const below = compile('dependency.c', `${cwd}/${soname}`, `-Wl,-soname,${soname}`);
  const path = `${cwd}/so.so`;
  compile('action.c', path, '-DLINE=1111', '-Wl,--no-as-needed', below, '-Wl,-rpath,$ORIGIN');
  const so = SoHandle.open(path, definitions);
  t.equal((await so.swap({ quarantine: true })).generation, 2);
  t.equal(so.swapSync({ quarantine: true }).generation, 3);
  so.close();
});

t.test('a candidate that crashes in quarantine leaves no core behind', async (t) => {
  const cwd = t.testdir();
  const { so: path } = copyBuilds(builds, cwd);
  const program = `
    import { copyFileSync } from 'node:fs';
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('${path}');
    copyFileSync('${begins('bad', 'abort()')}', '${path}');
    await so.swap({ quarantine: true }).catch(({ code }) => console.log(code));
  `;
  writeFileSync(`${cwd}/program.mjs`, program);
  const names = readdirSync(cwd);
  const script = 'ulimit -S -c "$(ulimit -H -c)"; exec "$0" "$@"';
  const child = spawnSync('sh', ['-c', script, ...plainNode(['program.mjs']).flat()], {
    cwd,
    encoding: 'utf8',
  });
  t.match(child, { status: 0, signal: null, stdout: `${refused.code}\n`, stderr: '' });
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
    t.match(ended, { ...exitedCleanly, messages: [refused.code] });
  },
);

t.test('wrong options are refused', async (t) => {
  const so = SoHandle.open(builds.one);
  for (const quarantine of [5, 'yes', null]) {
    t.throws(() => so.swapSync({ quarantine: quarantine as never }), {
      code: 'ERR_INVALID_ARG_TYPE',
    });
  }
  t.throws(() => so.swapSync({ quarantine: { timeout: -1 } }), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => so.swapSync({ quarantine: { timeout: '1' as never } }), {
    code: 'ERR_INVALID_ARG_TYPE',
  });
  t.equal(so.generation, 1);
  so.close();
});
