import { copyFileSync, writeFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { SoHandle, type SwapOptions } from 'soswap';
import t from 'tap';
import { compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { beginning, children, isAlive, pidsIn } from '../fixtures/quarantine.js';
import { until } from '../fixtures/until.js';

const directory = t.testdir();
const builds = twoBuilds(directory);
const definitions = { count: { return: 'int32' }, version: { return: 'string' } } as const;
const refused = { name: 'SoError', code: 'ERR_SOSWAP_QUARANTINE', rolledBack: false };
const begins = beginning(directory);

const bad: [string, string, RegExp, SwapOptions['quarantine']?][] = [
  ['crashes', '*nowhere = 0', /SIGSEGV/],
  ['kills the process', 'kill(getpid(), SIGKILL)', /SIGKILL/],
  ['exits with an error', 'exit(7)', /7/],
  ['exits', 'exit(0)', /./],
  ['exits without a word', '_exit(0)', /./],
  ['hangs', 'for (;;) pause()', /300/, { timeout: 300 }],
  ['runs for ever', 'for (volatile int i = 0;; i = 0) (void)i', /300/, { timeout: 300 }],
];
for (const [what, begin, message, quarantine = true] of bad) {
  t.test(`a candidate whose constructor ${what} is refused`, async (t) => {
    const { so: path, two } = copyBuilds(builds, t.testdir());
    const so = SoHandle.open(path, definitions);
    so.functions.count();
    copyFileSync(begins(begin), path);
    t.throws(() => so.swapSync({ quarantine }), { ...refused, path, message });
    await t.rejects(so.swap({ quarantine }), { ...refused, path, message });
    t.same([so.generation, so.functions.version(), so.functions.count()], [1, 'build 1111', 2]);
    t.same(children(), []);

    copyFileSync(two, path);
    t.equal((await so.swap()).generation, 2);
    so.close();
  });
}

for (const [what, end] of [
  ['crashes', 'abort()'],
  ['hangs', 'for (;;) pause()'],
] as const) {
  t.test(`a process that a candidate has started ends when the candidate ${what}`, async (t) => {
    const cwd = t.testdir();
    const { so: path } = copyBuilds(builds, cwd);
    const so = SoHandle.open(path, definitions);
    copyFileSync(begins(`leave_child(); ${end}`), path);
    const pids = `${cwd}/pids`;
    process.env.SOSWAP_TEST_PID = pids;
    t.teardown(() => delete process.env.SOSWAP_TEST_PID);
    // On a busy machine it may have run out of time before it has begun.
    for (let timeout = 500; pidsIn(pids).length === 0 && timeout < 20_000; timeout *= 2) {
      t.throws(() => so.swapSync({ quarantine: { timeout } }), refused);
      await t.rejects(so.swap({ quarantine: { timeout } }), refused);
    }
    t.not(pidsIn(pids).length, 0, 'a child of the child has lived');
    await until('they have ended', () => !pidsIn(pids).some(isAlive));
    t.same(children(), []);
    so.close();
  });
}

t.test('a candidate that the loader refuses is refused with its words', async (t) => {
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
    copyFileSync(begins('tell_pid()'), path);
    process.env.SOSWAP_TEST_PID = `${cwd}/pids`;
    t.teardown(() => delete process.env.SOSWAP_TEST_PID);
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
  copyFileSync(begins('tell_pid(); abort()'), path);
  process.env.SOSWAP_TEST_PID = `${cwd}/pids`;
  t.teardown(() => delete process.env.SOSWAP_TEST_PID);
  const verify = () => t.fail('verify() was called');
  await t.rejects(so.swap({ quarantine: true, verify }), refused);
  t.throws(() => so.swapSync({ quarantine: true, verify }), refused);
  t.equal(pidsIn(`${cwd}/pids`).length, 2);
  t.notOk(pidsIn(`${cwd}/pids`).includes(process.pid));
  so.close();
});

t.test('JavaScript runs, and calls are served, while a candidate is in quarantine', async (t) => {
  const cwd = t.testdir();
  const { so: path } = copyBuilds(builds, cwd);
  const so = SoHandle.open(path, definitions);
  copyFileSync(begins('tell_pid(); wait_for_file()'), path);
  process.env.SOSWAP_TEST_PID = `${cwd}/pids`;
  process.env.SOSWAP_TEST_GATE = `${cwd}/gate`;
  t.teardown(() => delete process.env.SOSWAP_TEST_PID);
  t.teardown(() => delete process.env.SOSWAP_TEST_GATE);
  const swap = so.swap({ quarantine: { timeout: 2 ** 40 } });
  await until('the constructor has begun', () => pidsIn(`${cwd}/pids`).length === 1);
  await nextTurn();
  t.same([so.functions.version(), so.functions.count()], ['build 1111', 1]);
  writeFileSync(`${cwd}/gate`, '');
  t.equal((await swap).generation, 2);
  t.equal(so.functions.version(), 'build 2222');
  so.close();
});

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
