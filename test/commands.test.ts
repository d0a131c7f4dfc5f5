import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { SoInfo } from 'soswap';
import t from 'tap';
import { buildIdOf, compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, plainNode } from '../fixtures/child.js';
import { main, Running } from '../fixtures/running.js';

const directory = t.testdir();
const builds = twoBuilds(directory);
const nodelete = compile('action.c', join(directory, 'nodelete.so'), '-DLINE=1', '-Wl,-z,nodelete');
const soswap = (...args: string[]) => new Running([main, ...args], directory).end();

/** A line on the standard error, nothing else, and this exit code. */
const fails = (code: number, line: RegExp) => ({ code, signal: null, stdout: '', stderr: line });
const oneLine = (text: string) => text.split('\n').length === 2 && text.startsWith('soswap: ');

t.test('every command tells its usage, its exit codes and an example', async (t) => {
  for (const command of ['run', 'inspect', 'install', 'watch', 'loaded', 'build']) {
    for (const option of ['--help', '-h']) {
      const ended = await soswap(command, option);
      t.match(ended, { ...exitedCleanly, stdout: new RegExp(`^usage: soswap ${command}\\b`) });
      t.match(ended.stdout, /\nexit codes: [\s\S]+\nexample: soswap /);
      t.ok(
        ended.stdout.split('\n').every((line) => line.length <= 120),
        'no line is wider than 120 columns',
      );
    }
    t.match(await soswap('--help'), { stdout: new RegExp(`\n {2}${command} +\\w`) });
  }
});

t.test('wrong usage is told in one line, with exit code 2', async (t) => {
  const mistakes: [args: string[], line: RegExp][] = [
    [['inspect'], /LIB is missing/],
    [['inspect', ''], /path/],
    [['inspect', './so.so', 'more'], /'more'/],
    [['inspect', './so.so', '--frobnicate'], /--frobnicate/],
    [['install', './so1.so'], /DEST is missing/],
    [['install', './so1.so', './so.so', './so2.so'], /'.\/so2.so'/],
    [['watch'], /LIB is missing/],
    [['watch', './so.so', '--settle', 'soon'], /--settle must be a whole number.*'soon'/],
    [['watch', './so.so', '--exec'], /--exec/],
    [['loaded'], /--pid is missing/],
    [['loaded', '--pid', 'x'], /--pid must be a whole number/],
    [['run', './so.so'], /SYMBOL is missing/],
    [['run', './so.so', 'action', '--interval', '-1'], /--interval/],
    [['run', './so.so', 'action', '--interval=-1'], /--interval must be a whole number/],
    [['run', './so.so', 'action', '--count', '1.5'], /--count must be a whole number/],
    [['run', './so.so', 'action', '--signature', 'int32('], /--signature must be like/],
    [['run', './so.so', 'action', '--signature', 'int()'], /'int'/],
    [['run', './so.so', 'action', '--signature', 'int32(void)'], /void/],
    [['run', './so.so', 'action', '--signature', 'int32(u8,,u8)'], /arguments\[1\]/],
    [['run', './so.so', 'action', '--args', '1'], /no arguments.*1 value/],
    [['run', './so.so', 'action', '--signature', 'int32(u8,u8)', '--args', '1'], /\(u8, u8\)/],
    [['run', './so.so', 'action', '--signature', 'int32(i8)', '--args', '1.5'], /'1.5' is not a valid i8/],
    [['run', './so.so', 'action', '--signature', 'int32(i64)', '--args', ''], /'' is not a valid i64/],
    [['run', './so.so', 'action', '--signature', 'int32(f32)', '--args', 'x'], /'x' is not a valid f32/],
    [['run', './so.so', 'action', '--signature', 'int32(ptr)', '--args', 'x'], /'x' is not a valid ptr/],
    [['run', './so.so', 'action', '--signature', 'int32(u8)', '--args', '256'], /0 to 255/],
  ];
  for (const [args, line] of mistakes) {
    const ended = await soswap(...args);
    t.match(ended, fails(2, line), args.join(' '));
    t.ok(oneLine(ended.stderr), ended.stderr);
  }
});

t.test('files that are no library are told of in one line, with exit code 1', async (t) => {
  const files = t.testdir({ 'text.so': 'not a library\n', 'empty.so': '', folder: {} });
  const half = join(files, 'half.so');
  writeFileSync(half, readFileSync(builds.one).subarray(0, 3000));
  const commands = (file: string) => [
    ['inspect', file],
    ['install', file, './so.so'],
    ['watch', file],
    ['run', file, 'action'],
  ];
  const before = readFileSync(builds.so);
  for (const [file, reason] of [
    ['text.so', /not an ELF file/],
    ['empty.so', /empty|holds 0/],
    ['half.so', /holds 3000/],
    ['folder', /directory/],
    ['absent.so', /absent\.so/],
  ] as const) {
    for (const args of commands(join(files, file))) {
      const ended = await soswap(...args);
      t.match(ended, fails(1, reason), args.join(' '));
      t.match(ended.stderr, join(files, file), 'it names the file');
      t.ok(oneLine(ended.stderr), ended.stderr);
    }
  }
  t.same(readFileSync(builds.so), before, 'nothing was installed');
});

// Root reads everything; this is nobody.
const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
const asUser = (args: string[]) =>
  spawnSync(...plainNode([main, ...args]), { ...user, cwd: '/', encoding: 'utf8' });
const noUser = asUser(['--version']).status !== 0 && 'another user cannot run this checkout';

t.test('a file without permission to read', { skip: noUser }, async (t) => {
  const file = join(t.testdir(), 'secret.so');
  copyFileSync(builds.one, file);
  chmodSync(file, 0);
  for (const args of [
    ['inspect', file],
    ['install', file, '/tmp/absent/so.so'],
    ['watch', file],
    ['run', file, 'action'],
  ]) {
    const { status, stdout, stderr } = asUser(args);
    t.same([status, stdout], [1, ''], args.join(' '));
    t.match(stderr, /^soswap: .*secret\.so.*[Pp]ermission denied.*\n$/);
  }
  const { status, stdout, stderr } = asUser(['loaded', '--pid', `${process.pid}`]);
  if (user.uid !== undefined) t.same([status, stdout], [1, '']);
  if (user.uid !== undefined) t.match(stderr, /^soswap: cannot inspect process \d+: .*root\n$/);
});

t.test('names may be strange', async (t) => {
  for (const name of ['-dash.so', 'two words.so', 'a\nb.so', `it's "$HOME" é 猫.so`, '%s\t\\.so']) {
    const files = t.testdir();
    const path = join(files, name);
    copyFileSync(builds.one, path);
    const inspected = await soswap('inspect', '--json', '--', path);
    t.match(inspected, exitedCleanly, name);
    t.equal(JSON.parse(inspected.stdout).path, path);
    t.match(await soswap('install', builds.two, path), {
      ...exitedCleanly,
      stdout: `installed ${path}\n`,
    });
    t.same(readFileSync(path), readFileSync(builds.two));
    t.match(await soswap('run', path, 'version', '--signature', 'string', '--count', '1'), {
      ...exitedCleanly,
      stdout: 'build 2222\n',
    });
    const absent = await soswap('inspect', `${path}.absent`);
    t.match(absent, { code: 1, stdout: '' });
    t.ok(oneLine(absent.stderr), absent.stderr);
  }
});

t.test('a name without a slash is looked up; a file of that name here is hinted at', async (t) => {
  t.match(await soswap('inspect', 'so1.so'), fails(1, /write \.\/so1\.so/));
  t.match(await soswap('inspect', 'libm.so.6'), { stdout: /^\/.+\/libm\.so\.6\n/, stderr: '' });
});

t.test('inspect tells what a library is, for people and as JSON', async (t) => {
  const text = await soswap('inspect', './so1.so');
  t.match(text, exitedCleanly);
  t.match(text.stdout, new RegExp(`build id +${buildIdOf(builds.one)}\n`));
  t.match(text.stdout, /SoHandle +unmaps cleanly\n/);
  t.notMatch(text.stdout, '\x1b', 'no colours in a pipe');
  t.notMatch(text.stdout, /version +function/);

  t.match(await soswap('inspect', './so1.so', '--symbols'), {
    ...exitedCleanly,
    stdout: /\nversion +function +global +\d+\n[\s\S]+\nputs +GLIBC/,
  });

  const json = await soswap('inspect', './so1.so', '--json');
  t.match(json, exitedCleanly);
  const info: SoInfo = JSON.parse(json.stdout);
  t.match(info, { path: builds.one, buildId: buildIdOf(builds.one), unload: { outcome: 'clean' } });
  t.ok(info.exports.some(({ name }) => name === 'action'));
});

t.test('inspect says by its exit code that old images stay mapped', async (t) => {
  t.match(await soswap('inspect', nodelete), {
    code: 3,
    signal: null,
    stdout:
      /stays mapped because it is linked with -z nodelete \(nodelete\)\n +cure: link it without -z nodelete/,
    stderr: '',
  });
  const json = await soswap('inspect', nodelete, '--json');
  t.equal(json.code, 3);
  t.match(JSON.parse(json.stdout), { unload: { reasons: [{ code: 'nodelete' }] } });
});

t.test('install replaces a file', async (t) => {
  const { two, so } = copyBuilds(builds, t.testdir());
  chmodSync(so, 0o640);
  t.match(await soswap('install', two, so), { ...exitedCleanly, stdout: `installed ${so}\n` });
  t.same(readFileSync(so), readFileSync(two));
  t.equal(statSync(so).mode & 0o777, 0o640);
  t.match(await soswap('install', two, join(so, 'below')), fails(1, /so\.so\/below.*ENOTDIR/));
});

t.test('the output may be closed early, and nothing is said of it', async (t) => {
  const [env, args] = plainNode([main]);
  const run = [env, ...args].join(' ');
  for (const command of [
    `inspect ./so1.so --symbols`,
    `inspect ./so1.so --json`,
    `run ./so1.so version --signature string --interval 0`,
  ]) {
    const script = `${run} ${command} | head -n 1`;
    const ended = spawnSync('sh', ['-c', script], {
      cwd: directory,
      encoding: 'utf8',
      timeout: 60_000,
    });
    t.match(ended, { status: 0, signal: null, stderr: '' }, command);
    t.equal(ended.stdout.split('\n').length, 2);
  }
});

const noTerminal = spawnSync('script', ['--version']).error !== undefined && 'needs script(1)';

t.test('colour is for a terminal, and not with NO_COLOR', { skip: noTerminal }, async (t) => {
  // script(1) gives it a terminal.
  const seen = (setting: string) => {
    const command = `env -u NODE_OPTIONS ${setting} '${process.execPath}' '${main}' inspect ./so1.so`;
    return spawnSync('script', ['-qec', command, '/dev/null'], {
      cwd: directory,
      env: { ...process.env, TERM: 'xterm' },
      encoding: 'utf8',
    }).stdout;
  };
  t.match(seen('-u NO_COLOR'), '\x1b[32munmaps cleanly');
  t.match(seen('NO_COLOR=1'), /SoHandle +unmaps cleanly/);
  t.notMatch(seen('NO_COLOR=1'), '\x1b[');
});

t.test('run calls with values of every kind, as often as it is told', async (t) => {
  const calls = (...args: string[]) => soswap('run', './so1.so', ...args);
  const fast = ['--interval', '0', '--count'];
  t.match(await calls('version', '--signature', 'string', ...fast, '2'), {
    ...exitedCleanly,
    stdout: 'build 1111\nbuild 1111\n',
  });
  t.match(await calls('count', ...fast, '3'), { ...exitedCleanly, stdout: '1\n2\n3\n' });
  const quote = ['quote', '--signature', 'double ( f64, uint32 )', ...fast, '1'];
  t.match(await calls(...quote, '--args', '-1.5e1', '0x10'), {
    ...exitedCleanly,
    stdout: '-240\n',
  });
  const abs = ['--signature', 'int64(int64)', ...fast, '1', '--args', '-9007199254740993'];
  t.match(await soswap('run', 'libc.so.6', 'llabs', ...abs), { stdout: '9007199254740993\n' });
  const strlen = ['strlen', '--signature', 'u64(str)', ...fast, '1', '--args', '--count, ü'];
  t.match(await soswap('run', 'libc.so.6', ...strlen), { ...exitedCleanly, stdout: '11\n' });
  t.match(await calls('count', ...fast, '0'), { ...exitedCleanly, stdout: '' });
});

t.test('run refuses a symbol that is absent', async (t) => {
  t.match(await soswap('run', './so1.so', 'absent'), fails(1, /so1\.so.*absent/));
});

t.test(
  'run --watch prints the old value, the swap, the new value; a bad file is refused',
  async (t) => {
    const { one, two, so } = copyBuilds(builds, t.testdir());
    const options = ['--signature', 'string', '--interval', '20', '--watch'];
    const run = new Running([main, 'run', so, 'version', ...options], directory);
    await run.says(/^build 1111\nbuild 1111\n/);

    copyFileSync(two, so);
    const swapped = await run.says(/\nbuild 2222\nbuild 2222\n/);
    t.match(
      swapped,
      /^(build 1111\n)+swapped: generation 2 .+ old image unmapped\n(build 2222\n)+$/,
    );

    const since = run.stdout.length;
    writeFileSync(so, 'rubbish');
    await run.says(/\nrefused: .*not an ELF file.*ERR_SOSWAP_NOT_ELF.*\n(build 2222\n){2}/, since);

    renameSync(one, so);
    await run.says(/\nswapped: generation 3 .*\n(build 1111\n){2}/, since);
    t.equal(run.stdout.match(/^swapped/gm)?.length, 2);
    t.equal(run.stdout.match(/^refused/gm)?.length, 1);
    t.match(await run.end('SIGINT'), { code: 130, signal: null, stderr: '' });
  },
);

t.test('run swaps on SIGHUP, and not without it', async (t) => {
  const { two, so } = copyBuilds(builds, t.testdir());
  const options = ['--signature', 'string', '--interval', '20', '--json'];
  const run = new Running([main, 'run', so, 'version', ...options], directory);
  await run.says(/build 1111/);
  renameSync(two, so);
  await run.says(/(.*1111.*\n){5}/, run.stdout.length);
  run.child.kill('SIGHUP');
  await run.says(/build 2222/);
  t.match(await run.end('SIGTERM'), { code: 143, signal: null, stderr: '' });

  const lines = run.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  const swap = lines.findIndex((line) => 'swap' in line);
  t.match(lines[swap], { swap: { generation: 2, unmapped: true, current: { inode: /^\d+$/ } } });
  t.ok(lines.slice(0, swap).every(({ value }) => value === 'build 1111'));
  t.ok(lines.slice(swap + 1).every(({ value }) => value === 'build 2222'));
});

t.test('run goes on while the file is gone or of no use, and swaps when it is back', async (t) => {
  const { one, two, so } = copyBuilds(builds, t.testdir());
  const options = ['--signature', 'string', '--interval', '20', '--json'];
  const run = new Running([main, 'run', so, 'version', ...options], directory);
  await run.says(/build 1111/);
  const refused: [make: () => void, code: string][] = [
    [() => renameSync(so, `${so}.away`), 'ERR_SOSWAP_NOT_FOUND'],
    [() => compile('calls.c', so), 'ERR_SOSWAP_MISSING_SYMBOL'],
    [() => copyFileSync(one, so), ''],
    [() => chmodSync(so, 0), process.getuid?.() === 0 ? '' : 'ERR_SOSWAP_UNREADABLE'],
  ];
  for (const [make, code] of refused) {
    make();
    const since = run.stdout.length;
    run.child.kill('SIGHUP');
    const outcome = code === '' ? /^\{"swap":\{.*\}\}\n/m : /^\{"refused":\{.*\}\}\n/m;
    const [line = ''] = outcome.exec(await run.says(outcome, since)) ?? [];
    if (code !== '') t.match(JSON.parse(line), { refused: { code, path: so, message: /./ } });
    await run.says(/\{"value":"build 1111"\}\n/, run.stdout.length);
  }
  renameSync(two, so);
  run.child.kill('SIGHUP');
  await run.says(/\{"value":"build 2222"\}\n/);
  t.match(await run.end('SIGINT'), { code: 130, stderr: '' });
});

t.test('Ctrl-C ends run at once, also while a native call takes its time', async (t) => {
  const args = ['run', 'libc.so.6', 'sleep', '--signature', 'u32(u32)', '--args', '90'];
  const run = new Running([main, ...args], directory);
  // It says nothing before the first call returns: its thread of the pool sleeps.
  const sleeping = () => {
    const tasks = spawnSync('sh', ['-c', `cat /proc/${run.child.pid}/task/*/wchan`]).stdout;
    return /nanosleep/.test(String(tasks));
  };
  while (!sleeping() && run.child.exitCode === null)
    await new Promise((done) => setTimeout(done, 20));
  const started = Date.now();
  const ended = await run.end('SIGINT');
  t.match(ended, { stdout: '', stderr: '' });
  t.ok(ended.code === 130 || ended.signal === 'SIGINT', `${ended.code} ${ended.signal}`);
  t.ok(Date.now() - started < 10_000);
});

t.test('loaded shows what a process runs that has no name', async (t) => {
  const { so } = copyBuilds(builds, t.testdir());
  const run = new Running([main, 'run', so, 'count', '--interval', '20'], directory);
  await run.says(/1\n2\n/);
  const pid = String(run.child.pid);
  t.match(await soswap('loaded', '--pid', pid), {
    ...exitedCleanly,
    stdout: new RegExp(`\nso\\.so +snapshot +\\d+ +${buildIdOf(so).slice(0, 8)} +0x`),
  });
  const json = await soswap('loaded', '--pid', pid, '--json');
  t.match(JSON.parse(json.stdout), [
    { name: 'so.so', kind: 'copy', path: null, buildId: buildIdOf(so), base: /^\d+$/ },
  ]);
  await run.end('SIGINT');
  t.match(await soswap('loaded', '--pid', pid), fails(1, /there is no process/));
});

t.test('loaded shows libraries whose files are gone', async (t) => {
  const files = t.testdir();
  const { so } = copyBuilds(builds, files);
  const program = `
    import { unlinkSync } from 'node:fs';
    import { dlopen } from 'soswap/dl';
    dlopen('${so}');
    console.log('loaded');
    setInterval(() => {}, 1000);
  `;
  const holder = new Running(['--input-type=module', '--eval', program], files);
  await holder.says(/loaded/);
  const pid = String(holder.child.pid);
  t.match(await soswap('loaded', '--pid', pid), { ...exitedCleanly, stdout: /maps no snapshots/ });
  renameSync(builds.two, `${so}.next`);
  copyFileSync(`${so}.next`, builds.two);
  renameSync(`${so}.next`, so);
  const json = await soswap('loaded', '--pid', pid, '--json');
  t.match(JSON.parse(json.stdout), [{ name: 'so.so', kind: 'gone', path: so }]);
  await holder.end('SIGKILL');
});
