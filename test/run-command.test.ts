import {
  chmodSync,
  copyFileSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import t from 'tap';
import { compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, main, Running, runSoswap } from '../fixtures/child.js';
import { until } from '../fixtures/until.js';

const directory = t.testdir();
const builds = twoBuilds(directory);
const soswap = (...args: string[]) => runSoswap(args, { cwd: directory });

/** A `soswap run` of `version()`, every 20 ms. */
function runVersion(so: string, ...options: string[]): Running {
  const args = ['run', so, 'version', '--signature', 'string', '--interval', '20', ...options];
  return new Running([main, ...args], { cwd: directory });
}

t.test('run passes values of every kind, and calls as often as --count says', async (t) => {
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
  t.match(await soswap('run', 'libc.so.6', 'llabs', ...abs), {
    ...exitedCleanly,
    stdout: '9007199254740993\n',
  });
  const strlen = ['strlen', '--signature', 'u64(str)', ...fast, '1', '--args', '--count, ü'];
  t.match(await soswap('run', 'libc.so.6', ...strlen), { ...exitedCleanly, stdout: '11\n' });
  t.match(await calls('count', ...fast, '0'), { ...exitedCleanly, stdout: '' });
});

t.test('a signature or a value that is none is a mistake, with exit code 2', async (t) => {
  const mistakes: [args: string[], named: RegExp][] = [
    [['int32()', '--args', '1'], /1/],
    [['int32('], /--signature/],
    [['int()'], /'int'/],
    [['int32(void)'], /void/],
    [['int32(u8,,u8)'], /arguments\[1\]/],
    [['int32(u8,u8)', '--args', '1'], /u8, u8/],
    [['int32(i8)', '--args', '1.5'], /1\.5.*i8/],
    [['int32(i64)', '--args', ''], /i64/],
    [['int32(f32)', '--args', 'x'], /x.*f32/],
    [['int32(ptr)', '--args', 'x'], /x.*ptr/],
    [['int32(u8)', '--args', '256'], /255/],
  ];
  for (const [args, named] of mistakes) {
    const ended = await soswap('run', './so.so', 'action', '--signature', ...args);
    t.match(ended, { code: 2, signal: null, stdout: '', stderr: named }, args.join(' '));
    t.match(ended.stderr, /^soswap: .+\n$/, 'one line');
  }
});

t.test('run refuses a symbol that is absent', async (t) => {
  t.match(await soswap('run', './so1.so', 'absent'), {
    code: 1,
    signal: null,
    stdout: '',
    stderr: /so1\.so.*absent/,
  });
});

t.test(
  'run --watch prints the old value, the swap, the new value; a bad file is refused',
  async (t) => {
    const { one, two, so } = copyBuilds(builds, t.testdir());
    const run = runVersion(so, '--watch');
    await run.says(/^build 1111\nbuild 1111\n/);

    copyFileSync(two, so);
    const swapped = await run.says(/\nbuild 2222\nbuild 2222\n/);
    t.match(
      swapped,
      /^(build 1111\n)+swapped: generation 2 .+ old image unmapped\n(build 2222\n)+$/,
    );

    const since = run.stdout.length;
    writeFileSync(so, 'rubbish');
    await run.says(/\nrefused: .*ERR_SOSWAP_NOT_ELF.*\n(build 2222\n){2}/, since);

    renameSync(one, so);
    await run.says(/\nswapped: generation 3 .*\n(build 1111\n){2}/, since);
    t.equal(run.stdout.match(/^swapped/gm)?.length, 2);
    t.equal(run.stdout.match(/^refused/gm)?.length, 1);
    t.match(await run.end('SIGINT'), { code: 130, signal: null, stderr: '' });
  },
);

t.test('run swaps on SIGHUP, and not without it', async (t) => {
  const { two, so } = copyBuilds(builds, t.testdir());
  const run = runVersion(so, '--json');
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

/** Resolves with what the next swap or refusal is, once the values go on. */
async function outcome(run: Running, kind: 'swap' | 'refused', signal: NodeJS.Signals) {
  const since = run.stdout.length;
  const line = new RegExp(`^\\{"${kind}":.*\\}\n`, 'm');
  run.child.kill(signal);
  const [told = ''] = line.exec(await run.says(line, since)) ?? [];
  await run.says(/\{"value":"build 1111"\}\n/, run.stdout.length);
  return JSON.parse(told);
}

t.test('run goes on while the file is gone or of no use, and swaps when it is back', async (t) => {
  const { one, two, so } = copyBuilds(builds, t.testdir());
  const run = runVersion(so, '--json');
  await run.says(/build 1111/);
  renameSync(so, `${so}.away`);
  t.match(await outcome(run, 'refused', 'SIGHUP'), {
    refused: { code: 'ERR_SOSWAP_NOT_FOUND', path: so, message: /./ },
  });
  compile('calls.c', so);
  t.match(await outcome(run, 'refused', 'SIGHUP'), {
    refused: { code: 'ERR_SOSWAP_MISSING_SYMBOL', path: so, message: /./ },
  });
  renameSync(two, so);
  run.child.kill('SIGHUP');
  await run.says(/"generation":2.*\n(.*\n)*?\{"value":"build 2222"\}\n/);
  renameSync(one, so);
  run.child.kill('SIGHUP');
  await run.says(/"generation":3.*\n(.*\n)*?\{"value":"build 1111"\}\n/);
  t.match(await run.end('SIGINT'), { code: 130, signal: null, stderr: '' });
});

const readsAll = process.getuid?.() === 0 && 'root reads every file';

t.test('run goes on while the file may not be read', { skip: readsAll }, async (t) => {
  const { so } = copyBuilds(builds, t.testdir());
  const run = runVersion(so, '--json');
  await run.says(/build 1111/);
  chmodSync(so, 0);
  t.match(await outcome(run, 'refused', 'SIGHUP'), {
    refused: { code: 'ERR_SOSWAP_UNREADABLE', path: so },
  });
  t.match(await run.end('SIGINT'), { code: 130, signal: null, stderr: '' });
});

t.test('Ctrl-C ends run at once, also while a native call takes its time', async (t) => {
  // Longer than the test waits for the end of the process.
  const args = ['run', 'libc.so.6', 'sleep', '--signature', 'u32(u32)', '--args', '600'];
  const run = new Running([main, ...args], { cwd: directory });
  // It says nothing before the first call returns: its thread of the pool sleeps.
  const sleeps = (task: string) => /sleep/.test(readFileSync(`${task}/wchan`, 'utf8'));
  const tasks = () => readdirSync(`/proc/${run.child.pid}/task`);
  await until('the call has begun', () =>
    tasks().some((task) => sleeps(`/proc/${run.child.pid}/task/${task}`)),
  );
  // exit() would wait for the call, so that the signal itself has to end it.
  t.match(await run.end('SIGINT'), { code: null, signal: 'SIGINT', stdout: '', stderr: '' });
});
