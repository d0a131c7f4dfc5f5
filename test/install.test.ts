import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  linkSync,
  lstatSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { install } from 'soswap';
import t from 'tap';
import { compile, compileAction, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, main, Running, runProgram, runSoswap } from '../fixtures/child.js';
import { until } from '../fixtures/until.js';

const directory = t.testdir({ probe: {} });
const builds = twoBuilds(directory);
const faultsLibrary = compile('faults.c', join(directory, 'faults.so'));

t.test('the destination gets the bytes of the source in a new file', async (t) => {
  const directory = t.testdir();
  const { two, so } = copyBuilds(builds, directory);
  linkSync(so, join(directory, 'old.so'));
  await install(two, so);
  t.same(readFileSync(so), readFileSync(two));
  t.same(readFileSync(join(directory, 'old.so')), readFileSync(builds.one), 'not written into');
  t.same(readdirSync(directory).sort(), ['old.so', 'so.so', 'so1.so', 'so2.so']);
});

t.test(
  'every byte of the source is installed, whatever soswap changes or omits in its copies',
  async (t) => {
    const directory = t.testdir();
    const { so } = copyBuilds(builds, directory);
    const soname = '-Wl,-soname,$ORIGIN/libdependency.so';
    const dependency = compile('dependency.c', join(directory, 'libdependency.so'), soname);
    const source = join(directory, 'source.so');
    // It asks for a dependency by $ORIGIN, has STB_GNU_UNIQUE symbols, and megabytes for debuggers.
    compile('retain/unique-symbol.cc', source, '-DLINE=1', '-Wl,--no-as-needed', dependency);
    const whole = enlarge(source);
    await install(source, so);
    t.ok(readFileSync(so).equals(whole));
  },
);

t.test('the mode of the destination is kept', async (t) => {
  const { two, so } = copyBuilds(builds, t.testdir());
  chmodSync(two, 0o777);
  chmodSync(so, 0o604);
  await install(pathToFileURL(two), pathToFileURL(so));
  t.equal(statSync(so).mode & 0o7777, 0o604);
});

const notRoot = process.getuid?.() !== 0 && 'needs root, to give files away';

t.test('the owner of the destination is kept', { skip: notRoot }, async (t) => {
  const { two, so } = copyBuilds(builds, t.testdir());
  chownSync(so, 12, 34);
  await install(two, so);
  const { uid, gid } = statSync(so);
  t.same([uid, gid], [12, 34]);
});

t.test('a set-user-ID bit is kept with the owner alone', { skip: notRoot }, async (t) => {
  const cwd = t.testdir();
  const { so, two } = copyBuilds(builds, cwd);
  chmodSync(so, 0o6755);
  await install(two, so);
  t.equal(statSync(so).mode & 0o7777, 0o6755, 'root keeps the owner');
  chmodSync(cwd, 0o777);
  const program = `
      import { install } from 'soswap';
      await install('so2.so', 'so.so');
      await install('so1.so', 'new.so');
    `;
  chmodSync(`${cwd}/so1.so`, 0o6755);
  t.match(await runProgram(program, { cwd, uid: 1234, gid: 1234 }), exitedCleanly);
  for (const name of ['so.so', 'new.so']) {
    const { uid, mode } = statSync(`${cwd}/${name}`);
    t.same([uid, mode & 0o7777], [1234, 0o755], name);
  }
});

t.test('a destination that is not there yet gets the mode of the source', async (t) => {
  const directory = t.testdir();
  const { two } = copyBuilds(builds, directory);
  chmodSync(two, 0o751);
  const path = join(directory, 'new.so');
  await install(two, path);
  t.equal(statSync(path).mode & 0o7777, 0o751);
  t.same(readFileSync(path), readFileSync(two));
});

t.test('a symbolic link is followed, and stays', async (t) => {
  const directory = t.testdir({ real: {} });
  const { two, so } = copyBuilds(builds, directory);
  copyFileSync(so, join(directory, 'real/lib.so.1'));
  symlinkSync('real/lib.so.1', join(directory, 'lib.so'));
  await install(two, join(directory, 'lib.so'));
  t.ok(lstatSync(join(directory, 'lib.so')).isSymbolicLink());
  t.same(readFileSync(join(directory, 'real/lib.so.1')), readFileSync(two));
  t.same(readdirSync(join(directory, 'real')), ['lib.so.1']);
});

t.test('a source that is no library is refused, and the destination is as it was', async (t) => {
  const directory = t.testdir({ 'text.so': 'text', folder: {} });
  const { two, so } = copyBuilds(builds, directory);
  const half = join(directory, 'half.so');
  copyFileSync(two, half);
  truncateSync(half, 4000);
  const before = [statSync(so, { bigint: true }), readdirSync(directory)];
  const at = (name: string) => join(directory, name);
  await t.rejects(install(at('text.so'), so), { code: 'ERR_SOSWAP_NOT_ELF' });
  await t.rejects(install(half, so), { code: 'ERR_SOSWAP_TRUNCATED' });
  await t.rejects(install(at('absent.so'), so), { code: 'ERR_SOSWAP_NOT_FOUND' });
  await t.rejects(install(at('folder'), so), { code: 'ERR_SOSWAP_NOT_A_FILE' });
  t.same([statSync(so, { bigint: true }), readdirSync(directory)], before);
});

t.test('a destination that cannot be written is named, with the reason', async (t) => {
  const directory = t.testdir({ folder: {} });
  const { two, so } = copyBuilds(builds, directory);
  const failure = (path: string, message: RegExp) => ({
    code: 'ERR_SOSWAP_INSTALL',
    path,
    message,
  });
  for (const [name, reason] of [
    ['folder', /directory/],
    ['absent/so.so', /ENOENT/],
    ['so.so/so.so', /ENOTDIR/],
  ] as const) {
    const path = join(directory, name);
    await t.rejects(install(two, path), failure(path, reason));
  }
  await t.rejects(install(two, 1 as unknown as string), { code: 'ERR_INVALID_ARG_TYPE' });
  await t.rejects(install(two, ''), { code: 'ERR_INVALID_ARG_VALUE' });
  t.same(readFileSync(so), readFileSync(builds.one));
});

t.test('a process that has the old file loaded goes on', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `
    import { install } from 'soswap';
    import { dlopen, dlsym, functionAt } from 'soswap/dl';
    const version = functionAt(dlsym(dlopen('./so.so'), 'version'), { return: 'string' });
    await install('so2.so', 'so.so');
    process.send(version());
  `;
  t.match(await runProgram(program, { cwd }), { ...exitedCleanly, messages: ['build 1111'] });
});

function mount(kilobytes: number, at: string): void {
  const args = ['-t', 'tmpfs', '-o', `size=${kilobytes}k`, 'tmpfs', at];
  execFileSync('mount', args, { stdio: 'ignore' });
}

/** Why no file system can be mounted here; `false` if one can. */
function cannotMount(): string | false {
  const probe = join(directory, 'probe');
  try {
    mount(100, probe);
    execFileSync('umount', [probe]);
    return false;
  } catch {
    return 'a full disk: mount(8) is not allowed here';
  }
}

t.test(
  'a full disk: the destination stays, and nothing lies beside it',
  { skip: cannotMount() },
  async (t) => {
    const directory = t.testdir({ disk: {} });
    const disk = join(directory, 'disk');
    mount(100, disk);
    try {
      const big = compileAction(join(directory, 'big.so'), 2222);
      // Sections that are not loaded may be of any size.
      writeFileSync(join(directory, 'filler'), Buffer.alloc(200_000, 1));
      execFileSync('objcopy', ['--add-section', `.filler=${join(directory, 'filler')}`, big]);
      const so = join(disk, 'so.so');
      copyFileSync(builds.one, so);
      const before = statSync(so, { bigint: true });
      await t.rejects(install(big, so), {
        code: 'ERR_SOSWAP_INSTALL',
        path: so,
        message: /ENOSPC/,
        cause: { code: 'ENOSPC' },
      });
      t.same(readdirSync(disk), ['so.so']);
      t.same(statSync(so, { bigint: true }).ctimeNs, before.ctimeNs, 'not touched');
      t.same(readFileSync(so), readFileSync(builds.one));
      await install(builds.two, so);
      t.same(readFileSync(so), readFileSync(builds.two), 'a smaller one finds room');
    } finally {
      execFileSync('umount', ['--lazy', disk]);
    }
  },
);

/** An `soswap install` of `build` as `so`, to which a fault of fixtures/faults.c happens. */
function faultyInstall(build: string, so: string, faults: Readonly<Record<string, string>>) {
  const env = { LD_PRELOAD: faultsLibrary, ...faults };
  return new Running([main, 'install', build, so], { cwd: directory, env });
}

const noTmpfile = { SOSWAP_TEST_NO_TMPFILE: '1' };
const sigkill = `${constants.signals.SIGKILL}`;
const sigstop = `${constants.signals.SIGSTOP}`;

/** A library that takes more than one write. */
function enlarge(library: string): Buffer {
  const filler = join(directory, 'filler');
  writeFileSync(filler, Buffer.alloc(8_000_000, 1));
  execFileSync('objcopy', ['--add-section', `.filler=${filler}`, library]);
  return readFileSync(library);
}

const kills: [
  when: string,
  faults: Readonly<Record<string, string>>,
  left: 'nothing' | 'half' | 'whole',
][] = [
  ['while it writes', { SOSWAP_TEST_AT_WRITE: sigkill }, 'nothing'],
  ['before it renames', { SOSWAP_TEST_AT_RENAME: sigkill }, 'whole'],
  ['while it writes, without O_TMPFILE', { ...noTmpfile, SOSWAP_TEST_AT_WRITE: sigkill }, 'half'],
  [
    'before it renames, without O_TMPFILE',
    { ...noTmpfile, SOSWAP_TEST_AT_RENAME: sigkill },
    'whole',
  ],
];

for (const [when, faults, left] of kills) {
  t.test(`killed ${when}: the old file stays, and the next install cleans up`, async (t) => {
    const directory = t.testdir({ '.so.so.keep.soswap': '', '.so.so.0123456789ab.soswap.d': '' });
    const { two, so } = copyBuilds(builds, directory);
    const names = readdirSync(directory);
    const whole = enlarge(two);
    t.match(await faultyInstall(two, so, faults).end(), {
      code: null,
      signal: 'SIGKILL',
      stderr: '',
    });
    t.same(readFileSync(so), readFileSync(builds.one));
    const [more, ...others] = readdirSync(directory).filter((name) => !names.includes(name));
    t.same(others, []);
    const size = more === undefined ? 0 : statSync(join(directory, more)).size;
    const sizes = {
      nothing: size === 0,
      half: size > 0 && size < whole.length,
      whole: size === whole.length,
    };
    t.ok(sizes[left], `${size} of ${whole.length} bytes are left`);

    await install(two, so);
    t.same(readFileSync(so), whole);
    t.same(readdirSync(directory), names, 'nothing lies beside it');
  });
}

for (const faults of [{}, noTmpfile]) {
  const how = 'SOSWAP_TEST_NO_TMPFILE' in faults ? ', without O_TMPFILE' : '';
  t.test(`an install that takes its time is not disturbed by others${how}`, async (t) => {
    const directory = t.testdir();
    const { one, two, so } = copyBuilds(builds, directory);
    const slow = faultyInstall(one, so, { ...faults, SOSWAP_TEST_AT_RENAME: sigstop });
    const isStopped = () =>
      /^State:\s+T/m.test(readFileSync(`/proc/${slow.child.pid}/status`, 'utf8'));
    await until('the install has stopped itself', isStopped);
    await install(two, so);
    t.same(readFileSync(so), readFileSync(two));
    slow.child.kill('SIGCONT');
    t.match(await slow.end(), { ...exitedCleanly, stdout: /^installed/ });
    t.same(readFileSync(so), readFileSync(one));
    t.same(readdirSync(directory).sort(), ['so.so', 'so1.so', 'so2.so']);
  });
}

t.test('killed at any time, it leaves the whole old file or the whole new one', async (t) => {
  const directory = t.testdir();
  const { one, two, so } = copyBuilds(builds, directory);
  const wholes = [one, two].map(enlarge);
  copyFileSync(one, so);
  const program = `
    import { install } from 'soswap';
    process.send('ready');
    for (;;) {
      await install('so2.so', 'so.so');
      await install('so1.so', 'so.so');
    }
  `;
  const args = ['--input-type=module', '--eval', program];
  for (let round = 0; round < 8; round++) {
    const installs = new Running(args, { cwd: directory }, 'ipc');
    await until('it is ready', () => installs.messages.length > 0);
    await sleep(Math.random() * 60);
    t.match(await installs.end('SIGKILL'), { code: null, signal: 'SIGKILL', stderr: '' });
    const bytes = readFileSync(so);
    t.ok(
      wholes.some((whole) => whole.equals(bytes)),
      `killed, round ${round}: ${bytes.length} bytes`,
    );
  }
  await install(two, so);
  t.same(readdirSync(directory).sort(), ['so.so', 'so1.so', 'so2.so']);
});

t.test('a link to nothing is followed: its target is made', async (t) => {
  const directory = t.testdir({ real: {}, app: {} });
  const { two } = copyBuilds(builds, directory);
  symlinkSync('../real', join(directory, 'app/dir'));
  symlinkSync('lib.so.1', join(directory, 'real/lib.so'));
  symlinkSync('dir/../real/lib.so', join(directory, 'app/lib.so')); // the parent of real, not of dir
  await install(two, join(directory, 'app/lib.so'));
  t.ok(lstatSync(join(directory, 'app/lib.so')).isSymbolicLink());
  t.same(readFileSync(join(directory, 'real/lib.so.1')), readFileSync(two));
  symlinkSync('loop.so', join(directory, 'loop.so'));
  await t.rejects(install(two, join(directory, 'loop.so')), { code: 'ERR_SOSWAP_INSTALL' });
});

t.test('the name of the destination may be as long as names can be', async (t) => {
  const directory = t.testdir();
  const { two } = copyBuilds(builds, directory);
  const so = join(directory, `${'ü'.repeat(126)}.so`);
  await install(two, so);
  await install(two, so);
  t.same(readFileSync(so), readFileSync(two));
});

t.test('installs at once: one of them is last, and nothing lies beside it', async (t) => {
  const directory = t.testdir();
  const { one, two, so } = copyBuilds(builds, directory);
  await Promise.all(Array.from({ length: 20 }, (_, index) => install(index % 2 ? one : two, so)));
  const bytes = readFileSync(so);
  t.ok([one, two].some((build) => readFileSync(build).equals(bytes)));
  const processes = [one, two, one, two].map((build) =>
    runSoswap(['install', build, so], { cwd: directory }),
  );
  for (const ended of await Promise.all(processes)) t.match(ended, exitedCleanly);
  t.ok([one, two].some((build) => readFileSync(build).equals(readFileSync(so))));
  t.same(readdirSync(directory).sort(), ['so.so', 'so1.so', 'so2.so']);
});
