import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { plainNode, root } from '../fixtures/child.js';

const directory = t.testdir({});
const at = (name: string) => join(directory, name);
execFileSync('cc', [join(root, 'fixtures/refuse-memory-files.c'), '-o', at('refuse')]);

/** Two versions of a library in the directory of a case, each with a dependency beside it, found by `$ORIGIN`. */
const sources = {
  'dep.c': 'int base(void) { return 100; }',
  'lib.c': 'int base(void); int value(void) { return base() + VERSION; }',
};

function builds(t: Test): string {
  const place = t.testdir({ ...sources, temporary: {} });
  const built = (...args: string[]) =>
    execFileSync('cc', ['-shared', '-fPIC', ...args], { cwd: place });
  built('dep.c', '-o', 'libdep.so', '-Wl,-soname,libdep.so');
  for (const version of [1, 2]) {
    built(
      'lib.c',
      `-DVERSION=${version}`,
      '-o',
      `v${version}.so`,
      '-L.',
      '-ldep',
      '-Wl,-rpath,$ORIGIN',
    );
  }
  execFileSync('cp', ['v1.so', 'lib.so'], { cwd: place });
  return place;
}

/** Runs a program below a command. The variables `so`, a path, and `replace()` are ready; `say()` reports. */
function run(place: string, below: readonly string[], body: string, env: NodeJS.ProcessEnv = {}) {
  const program = `
    import { execFileSync } from 'node:child_process';
    import { copyFileSync, renameSync } from 'node:fs';
    import { inspect, loaded, SoHandle } from 'soswap';
    const said = [];
    const say = (...values) => said.push(...values);
    const so = ${JSON.stringify(join(place, 'lib.so'))};
    const definitions = { value: { return: 'int32' } };
    const open = (options) => SoHandle.open(so, definitions, options);
    const replace = (version) => {
      copyFileSync(${JSON.stringify(place)} + '/v' + version + '.so', so + '.new');
      renameSync(so + '.new', so);
    };
    const refusal = async (body) => {
      try { await body(); } catch (error) { return [error.code, error.outcome, error.message]; }
      return ['nothing was refused'];
    };
    const limit = (name, value) => execFileSync('prlimit', ['--pid', process.pid, '--' + name + '=' + value + ':']);
    ${body}
    console.log(JSON.stringify(said));
  `;
  const [command, ...args] = [
    ...below,
    ...plainNode(['--input-type=module', '--eval', program]).flat(),
  ];
  const { status, signal, stdout, stderr } = spawnSync(command as string, args, {
    cwd: root,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    timeout: 40_000,
  });
  return { code: status, signal, stderr, said: stdout === '' ? stdout : JSON.parse(stdout) };
}

const ended = { code: 0, signal: null, stderr: '' };

const everything = `
  const handle = open();
  say(handle.functions.value());
  replace(2);
  say((await handle.swap()).unmapped, handle.functions.value());
  replace(1);
  say((await handle.swap({ quarantine: true, order: 'open-first' })).unmapped, handle.functions.value());
  replace(2);
  say(handle.swapSync({ quarantine: true, verify: ({ value }) => value() === 102 }).unmapped, handle.functions.value());
  say(handle.status(), inspect(so).unload.outcome, handle.close().unmapped);
`;
const everythingSaid = [101, true, 102, true, 101, true, 102, 'current', 'clean', true];

for (const name of ['EPERM', 'ENOSYS'] as const) {
  t.test(`memfd_create(2) fails with ${name}: copies lie in $TMPDIR`, async (t) => {
    const place = builds(t);
    const below = [at('refuse'), String(constants.errno[name])];
    const temporary = join(place, 'temporary');
    const before = readdirSync(place).sort();
    const result = run(place, below, everything, { TMPDIR: temporary });
    t.strictSame(result, { ...ended, said: everythingSaid });
    t.strictSame(readdirSync(place).sort(), before, 'nothing is left behind');
    t.strictSame(readdirSync(temporary), []);
  });
}

/** For programs: the lines of the code that is mapped. */
const maps = `
  const { readFileSync } = await import('node:fs');
  const mapped = () => readFileSync('/proc/self/maps', 'utf8').split('\\n').filter((line) => /r-x/.test(line));
`;

t.test('the copy really lies in $TMPDIR where memfd_create(2) fails', async (t) => {
  const place = builds(t);
  const body = `${maps}
    const handle = open();
    say(mapped().some((line) => line.includes(process.env.TMPDIR)), mapped().some((line) => line.includes('memfd:lib.so')));
  `;
  const below = [at('refuse'), String(constants.errno.EPERM)];
  const env = { TMPDIR: join(place, 'temporary') };
  t.strictSame(run(place, below, body, env), { ...ended, said: [true, false] });
});

/** A command that runs in mount and PID namespaces of its own, after `setUp`. */
const inNamespace = (setUp: string, ...options: string[]) => [
  ...['unshare', ...options, 'sh', '-c', `${setUp} && exec "$0" "$@"`],
];
const canUnshare =
  spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0;
const privileged = { skip: canUnshare ? false : 'needs the right to mount' };
const hideProc = 'mount -t tmpfs tmpfs /proc';

t.test(
  'without /proc, private copies are refused, and the file itself works',
  privileged,
  async (t) => {
    const place = builds(t);
    const body = `
    say(await refusal(() => open()), inspect(so).unload.outcome);
    const handle = open({ image: 'direct' });
    say(handle.functions.value());
    replace(2);
    say((await handle.swap()).unmapped, handle.functions.value(), handle.status());
    say(SoHandle.open('libc.so.6', { getpid: { return: 'int32' } }).functions.getpid() === process.pid);
  `;
    const { said, ...rest } = run(place, inNamespace(hideProc, '--mount'), body);
    t.strictSame(rest, ended);
    const [[code, outcome, message], ...others] = said;
    t.strictSame([code, outcome], ['ERR_SOSWAP_NO_PROC', 'unchanged']);
    t.match(message, /\/proc/);
    t.strictSame(others, ['clean', 101, true, 102, 'current', true]);
  },
);

t.test(
  'where /proc went away, a swap is refused before anything is closed',
  privileged,
  async (t) => {
    const place = builds(t);
    const body = `
    const handle = open();
    const { base } = handle.image;
    execFileSync('sh', ['-c', ${JSON.stringify(hideProc)}]);
    replace(2);
    for (const options of [{}, { order: 'open-first' }, { quarantine: true }]) {
      say((await refusal(() => handle.swap(options))).slice(0, 2));
      say((await refusal(() => handle.swapSync(options))).slice(0, 2));
    }
    say(handle.functions.value(), handle.image.base === base, handle.status());
    execFileSync('umount', ['/proc']);
    say((await handle.swap()).unmapped, handle.functions.value());
  `;
    const refused = ['ERR_SOSWAP_NO_PROC', 'unchanged'];
    t.strictSame(run(place, inNamespace('true', '--mount'), body), {
      ...ended,
      said: [...Array(6).fill(refused), 101, true, 'replaced', true, 102],
    });
  },
);

t.test(
  '/proc of an outer PID namespace has another number for this process',
  privileged,
  async (t) => {
    const place = builds(t);
    const below = inNamespace('true', '--pid', '--fork');
    t.strictSame(run(place, below, everything), { ...ended, said: everythingSaid });
  },
);

/** A script that runs its arguments while `other` is a /proc that does not show them. */
const withOtherProc = (other: string, before = '') => `
  mkdir ${other}
  unshare --pid --fork --kill-child sh -c 'mount -t proc proc ${other} && touch ${other}.ready && sleep 30' &
  while ! [ -e ${other}.ready ]; do sleep 0.05; done
  ${before}
  "$0" "$@"
  code=$?
  kill -KILL $!
  exit $code
`;

t.test('/proc that shows other processes only is as none', privileged, async (t) => {
  const place = builds(t);
  const other = join(place, 'other');
  const script = withOtherProc(other, `mount --bind ${other} /proc`);
  const body = `
    say((await refusal(() => open())).slice(0, 2));
    say(open({ image: 'direct' }).functions.value());
  `;
  const result = run(place, ['unshare', '--mount', 'sh', '-c', script], body);
  t.strictSame(result, { ...ended, said: [['ERR_SOSWAP_NO_PROC', 'unchanged'], 101] });
});

t.test(
  '/proc that comes to show other processes during a swap is not used',
  privileged,
  async (t) => {
    const place = builds(t);
    const other = join(place, 'other');
    const body = `
    const handle = open();
    handle.functions.value();
    const verify = () => void execFileSync('mount', ['--bind', '${other}', '/proc']);
    const { code, outcome } = await handle
      .swap({ order: 'open-first', verify })
      .catch((error) => error);
    say([code, outcome], handle.functions.value());
  `;
    const result = run(place, ['unshare', '--mount', 'sh', '-c', withOtherProc(other)], body);
    t.strictSame(result, { ...ended, said: [['ERR_SOSWAP_NO_PROC', 'unchanged'], 101] });
  },
);

const refused = ['ERR_SOSWAP_NOEXEC', 'unchanged'];

/** The builds, and a way to run programs that see them again in `mounted/`, which is mounted noexec. */
function buildsOnNoexec(t: Test): { place: string; below: string[] } {
  const place = builds(t);
  mkdirSync(join(place, 'mounted'));
  const mount =
    `mount -t tmpfs -o size=16m tmpfs ${place}/mounted && cp ${place}/*.so ${place}/mounted && ` +
    `mount -o remount,noexec ${place}/mounted`;
  return { place, below: inNamespace(mount, '--mount') };
}

t.test(
  'a library on a noexec mount is refused, unless an option allows it',
  privileged,
  async (t) => {
    const { place, below } = buildsOnNoexec(t);
    const body = `
    const { dlopen } = await import('soswap/dl');
    say((await refusal(() => open())).slice(0, 2));
    say((await refusal(() => open({ image: 'direct' }))).slice(0, 2));
    say((await refusal(() => dlopen(so, 2)))[2].includes('failed to map'), inspect(so).unload.outcome);
    const handle = SoHandle.open(so.replace('lib.so', 'plain.so'), {}, { noexec: 'allow' });
    say((await handle.swap()).unmapped, handle.swapSync({ quarantine: true }).unmapped);
    say(SoHandle.open(so.replace('mounted/', ''), definitions).functions.value());
  `;
    execFileSync('cc', ['-shared', '-fPIC', '-x', 'c', '/dev/null', '-o', join(place, 'plain.so')]);
    t.strictSame(run(join(place, 'mounted'), below, body), {
      ...ended,
      said: [refused, refused, true, 'clean', true, true, 101],
    });
  },
);

t.test(
  'a swap to a library on a noexec mount leaves the old image running',
  privileged,
  async (t) => {
    const { place, below } = buildsOnNoexec(t);
    const body = `
    const { symlinkSync, unlinkSync } = await import('node:fs');
    const handle = open();
    unlinkSync(so);
    symlinkSync('mounted/v2.so', so);
    say((await refusal(() => handle.swap())).slice(0, 2), (await refusal(() => handle.swapSync())).slice(0, 2));
    say(handle.functions.value());
  `;
    t.strictSame(run(place, below, body), { ...ended, said: [refused, refused, 101] });
  },
);

t.test('a limit on the size of files is named, and kills nothing', async (t) => {
  const place = builds(t);
  const body = `
    const handle = open();
    replace(2);
    limit('fsize', 4096);
    const other = so.replace('lib.so', 'v1.so');
    const refused = await refusal(() => SoHandle.open(other, definitions));
    say(refused.slice(0, 2), /RLIMIT_FSIZE is 4096 bytes/.test(refused[2]), handle.functions.value());
    const swap = await refusal(() => handle.swap());
    say(swap[0] === 'nothing was refused' || /RLIMIT_FSIZE is 4096 bytes/.test(swap[2]));
    limit('fsize', 20000);
    say(SoHandle.open(other, definitions).functions.value());
    limit('fsize', 'unlimited');
    say((await handle.swap()).unmapped, handle.functions.value());
  `;
  t.strictSame(run(place, [], body), {
    ...ended,
    said: [['ERR_SOSWAP_SYSTEM', 'unchanged'], true, 101, true, 101, true, 102],
  });
});

t.test('a limit on the address space is named, and a refused swap loses nothing', async (t) => {
  const place = builds(t);
  // Node.js needs space too: for stacks and arenas of threads that begin late, 64 MiB each.
  const body = `
    const { readFileSync, statSync, truncateSync } = await import('node:fs');
    const handle = open();
    replace(2);
    const length = statSync(so).size;
    truncateSync(so, 2 ** 30); // a file that does not fit into what is left
    const size = Number(/VmSize:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
    limit('as', size * 1024 + 2 ** 29);
    const refused = await refusal(() => handle.swapSync());
    limit('as', 'unlimited');
    say(refused.slice(0, 2), /RLIMIT_AS is \\d+ bytes/.test(refused[2]), handle.functions.value());
    truncateSync(so, length);
    say(handle.swapSync().unmapped, handle.functions.value());
  `;
  t.strictSame(run(place, [], body), {
    ...ended,
    said: [['ERR_SOSWAP_SYSTEM', 'unchanged'], true, 101, true, 102],
  });
});

t.test('a limit on descriptors is named, and a refused swap loses nothing', async (t) => {
  const place = builds(t);
  const body = `
    const { closeSync, openSync } = await import('node:fs');
    const handle = open();
    replace(2);
    limit('nofile', 256);
    const opened = [];
    try { for (;;) opened.push(openSync('/dev/null')); } catch {}
    for (const free of [0, 1, 1]) {
      for (let count = 0; count < free; ++count) closeSync(opened.pop());
      const refused = await refusal(() => handle.swapSync());
      if (refused.length > 1) say(refused.slice(0, 2), /RLIMIT_NOFILE is 256/.test(refused[2]));
      if (refused.length > 1 && handle.functions.value() !== 101) say('the old code is gone');
    }
    for (const descriptor of opened) closeSync(descriptor);
    say(handle.swapSync().unmapped, handle.functions.value());
  `;
  const { said, ...rest } = run(place, [], body);
  t.strictSame(rest, ended);
  t.strictSame(said.slice(0, 2), [['ERR_SOSWAP_SYSTEM', 'unchanged'], true]);
  t.notOk(said.includes('the old code is gone'));
  t.strictSame(said.slice(-2), [true, 102]);
});

t.test('a full disk is named, and a refused swap loses nothing', privileged, async (t) => {
  const place = builds(t);
  const body = `
    const { truncateSync } = await import('node:fs');
    const handle = open();
    replace(2);
    execFileSync('sh', ['-c', 'mount -t tmpfs -o size=8k tmpfs ' + process.env.TMPDIR]);
    const refused = await refusal(() => handle.swapSync());
    execFileSync('umount', [process.env.TMPDIR]);
    say(refused.slice(0, 2), /No space left/.test(refused[2]), handle.functions.value());
    say(handle.swapSync().unmapped, handle.functions.value());
  `;
  const env = { TMPDIR: join(place, 'temporary'), SOSWAP_SNAPSHOT: 'file' };
  t.strictSame(run(place, inNamespace('true', '--mount'), body, env), {
    ...ended,
    said: [['ERR_SOSWAP_SYSTEM', 'unchanged'], true, 101, true, 102],
  });
});
