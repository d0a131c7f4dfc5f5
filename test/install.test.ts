import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
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
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { install } from 'soswap';
import t from 'tap';
import { compileAction, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, plainNode, runProgram } from '../fixtures/child.js';
import { main } from '../fixtures/running.js';

const directory = t.testdir({ probe: {} });
const builds = twoBuilds(directory);
const asRoot = process.getuid?.() === 0;

t.test('the destination gets the bytes of the source in a new file', async (t) => {
  const directory = t.testdir();
  const { two, so } = copyBuilds(builds, directory);
  linkSync(so, join(directory, 'old.so'));
  await install(two, so);
  t.same(readFileSync(so), readFileSync(two));
  t.same(readFileSync(join(directory, 'old.so')), readFileSync(builds.one), 'not written into');
  t.same(readdirSync(directory).sort(), ['old.so', 'so.so', 'so1.so', 'so2.so']);
});

t.test('mode and owner of the destination are kept', async (t) => {
  const { two, so } = copyBuilds(builds, t.testdir());
  chmodSync(two, 0o777);
  chmodSync(so, 0o604);
  if (asRoot) chownSync(so, 12, 34);
  await install(pathToFileURL(two), pathToFileURL(so));
  const { mode, uid, gid } = statSync(so);
  t.equal(mode & 0o7777, 0o604);
  if (asRoot) t.same([uid, gid], [12, 34]);
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

t.test('a destination that cannot be written is told of', async (t) => {
  const directory = t.testdir({ folder: {} });
  const { two, so } = copyBuilds(builds, directory);
  const failure = (path: string, message: RegExp) => ({
    code: 'ERR_SOSWAP_INSTALL',
    path,
    message,
  });
  for (const [name, reason] of [
    ['folder', /not a regular file/],
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

t.test('killed at any time, it leaves the whole old file or the whole new one', async (t) => {
  const directory = t.testdir({ disk: {} });
  const { one, two, so } = copyBuilds(builds, directory);
  // So large that writing takes a while.
  writeFileSync(join(directory, 'filler'), Buffer.alloc(8_000_000, 1));
  const wholes = [one, two].map((build) => {
    execFileSync('objcopy', ['--add-section', `.filler=${join(directory, 'filler')}`, build]);
    return readFileSync(build);
  });
  copyFileSync(one, so);
  const program = `
    import { install } from 'soswap';
    process.send('ready');
    for (;;) {
      await install('so2.so', 'so.so');
      await install('so1.so', 'so.so');
    }
  `;
  const left = new Set<string>();
  for (let round = 0; round < 25; round++) {
    const args = ['--input-type=module', '--eval', program];
    const child = spawn(...plainNode(args), {
      cwd: directory,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const closed = once(child, 'close');
    await once(child, 'message');
    await sleep(Math.random() * 60);
    child.kill('SIGKILL');
    await closed;
    const bytes = readFileSync(so);
    t.ok(
      wholes.some((whole) => whole.equals(bytes)),
      `killed, round ${round}: ${bytes.length} bytes`,
    );
    for (const name of readdirSync(directory)) if (name.endsWith('.soswap')) left.add(name);
  }
  // Between link and rename there may be a second name, of a whole file.
  for (const name of left) {
    const bytes = readFileSync(join(directory, name));
    t.ok(
      wholes.some((whole) => whole.equals(bytes)),
      `${name} is whole`,
    );
  }
});

t.test('installs at once: one of them is last, and nothing lies beside it', async (t) => {
  const directory = t.testdir();
  const { one, two, so } = copyBuilds(builds, directory);
  await Promise.all(Array.from({ length: 20 }, (_, index) => install(index % 2 ? one : two, so)));
  const bytes = readFileSync(so);
  t.ok([one, two].some((build) => readFileSync(build).equals(bytes)));
  const processes = [one, two, one, two].map(async (build) => {
    const child = spawn(...plainNode([main, 'install', build, so]), { stdio: 'ignore' });
    const [code] = await once(child, 'close');
    return code;
  });
  t.same(await Promise.all(processes), [0, 0, 0, 0]);
  t.ok([one, two].some((build) => readFileSync(build).equals(readFileSync(so))));
  t.same(readdirSync(directory).sort(), ['so.so', 'so1.so', 'so2.so']);
});
