import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, main, plainNode, runSoswap } from '../fixtures/child.js';

// The files that commands are given.

const directory = t.testdir();
const builds = twoBuilds(directory);
const soswap = (...args: string[]) => runSoswap(args, { cwd: directory });

const commandsFor = (file: string) => [
  ['inspect', file],
  ['install', file, './so.so'],
  ['watch', file],
  ['run', file, 'action'],
];

t.test('a file that is no library is reported in one line, with exit code 1', async (t) => {
  const files = t.testdir({ 'text.so': 'not a library\n', 'empty.so': '', folder: {} });
  const half = join(files, 'half.so');
  writeFileSync(half, readFileSync(builds.one).subarray(0, 3000));
  const before = readFileSync(builds.so);
  const reasons = {
    'text.so': /ELF/,
    'empty.so': /empty|\b0\b/,
    'half.so': /3000/,
    folder: /directory/,
    'absent.so': /absent/,
  };
  for (const [name, reason] of Object.entries(reasons)) {
    const file = join(files, name);
    // Commands read the same way; whether they do is seen with two files.
    const every = name === 'half.so' || name === 'absent.so';
    for (const args of commandsFor(file).slice(0, every ? undefined : 1)) {
      const ended = await soswap(...args);
      t.match(ended, { code: 1, signal: null, stdout: '', stderr: reason }, args.join(' '));
      t.match(ended.stderr, file, 'it names the file');
      t.match(ended.stderr, /^soswap: .+\n$/, 'one line');
    }
  }
  t.same(readFileSync(builds.so), before, 'nothing was installed');
});

// Root reads everything; this is nobody.
const isRoot = process.getuid?.() === 0;
const user = isRoot ? { uid: 65534, gid: 65534 } : {};
const asUser = (args: string[]) =>
  spawnSync(...plainNode([main, ...args]), { ...user, cwd: '/', encoding: 'utf8' });
const noUser = asUser(['--version']).status !== 0 && 'another user cannot run this checkout';

t.test('a file without permission to read', { skip: noUser }, async (t) => {
  const file = join(t.testdir(), 'secret.so');
  copyFileSync(builds.one, file);
  chmodSync(file, 0);
  for (const args of commandsFor(file)) {
    t.match(
      asUser(args),
      { status: 1, signal: null, stdout: '', stderr: /^soswap: .*secret\.so.*[Pp]ermission.*\n$/ },
      args.join(' '),
    );
  }
});

const notRoot = !isRoot && 'needs root, to be another user';

t.test(
  "the images of another user's process are not read",
  { skip: noUser || notRoot },
  async (t) => {
    t.match(asUser(['loaded', '--pid', `${process.pid}`]), {
      status: 1,
      signal: null,
      stdout: '',
      stderr: new RegExp(`^soswap: .*\\b${process.pid}\\b.*root.*\n$`),
    });
  },
);

for (const name of ['-dash.so', 'two words.so', 'a\nb.so', `it's "$HOME" é 猫.so`, '%s\t\\.so']) {
  t.test(`a file may have the name ${JSON.stringify(name)}`, async (t) => {
    const path = join(t.testdir(), name);
    copyFileSync(builds.one, path);
    const inspected = await soswap('inspect', '--json', '--', path);
    t.match(inspected, exitedCleanly);
    t.equal(JSON.parse(inspected.stdout).path, path);
    const installed = await soswap('install', builds.two, path);
    t.match(installed, { ...exitedCleanly, stdout: `installed ${path}\n` });
    t.same(readFileSync(path), readFileSync(builds.two));
    const run = await soswap('run', path, 'version', '--signature', 'string', '--count', '1');
    t.match(run, { ...exitedCleanly, stdout: 'build 2222\n' });
    const absent = await soswap('inspect', `${path}.absent`);
    t.match(absent, { code: 1, signal: null, stdout: '', stderr: /^soswap: .+\n$/ });
  });
}

t.test(
  'a name without a slash is a file of the current directory, or searched for as by dlopen(3)',
  async (t) => {
    t.match(await soswap('inspect', 'so1.so'), { ...exitedCleanly, stdout: /^\/.+\/so1\.so\n/ });
    t.match(await soswap('inspect', 'libm.so.6'), {
      ...exitedCleanly,
      code: 3, // part of the C library, which stays mapped
      stdout: /^\/.+\/libm\.so\.6\n/,
    });
  },
);

t.test('install replaces a file', async (t) => {
  const { two, so } = copyBuilds(builds, t.testdir());
  chmodSync(so, 0o640);
  t.match(await soswap('install', two, so), { ...exitedCleanly, stdout: `installed ${so}\n` });
  t.same(readFileSync(so), readFileSync(two));
  t.match(await soswap('install', two, join(so, 'below')), {
    code: 1,
    signal: null,
    stdout: '',
    stderr: /so\.so\/below.*ENOTDIR/,
  });
});
