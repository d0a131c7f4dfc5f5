import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { SoHandle } from 'soswap';
import t from 'tap';
import { compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';
import { soon } from '../fixtures/until.js';

const builds = twoBuilds(t.testdir());
const definitions = { action: { return: 'int32' }, count: { return: 'int32' } } as const;
const beingWritten = { name: 'SoError', code: 'ERR_SOSWAP_BEING_WRITTEN' };

t.test(
  'a file that another process has open for writing is refused, until it is done',
  async (t) => {
    const { so: path } = copyBuilds(builds, t.testdir());
    const so = SoHandle.open(path, definitions);
    const { count } = so.functions;
    count();
    const writer = spawn('sh', ['-c', 'exec 3<>"$0"; echo open; read line; exec 3>&-', path], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(writer.stdout, 'data', soon());

    t.throws(() => SoHandle.open(path), beingWritten);
    t.throws(() => so.swapSync(), beingWritten);
    t.throws(() => so.swapSync({ order: 'open-first' }), beingWritten);
    await t.rejects(so.swap(), beingWritten);
    t.same([so.generation, count()], [1, 2], 'nothing changed');

    writer.stdin.end('\n');
    await once(writer, 'close');
    t.equal(so.swapSync().generation, 2);
    t.equal(count(), 1);
    so.close();
  },
);

t.test('a file that this process has open for writing is refused as well', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const writing = openSync(path, 'r+');
  t.throws(() => SoHandle.open(path), beingWritten);
  closeSync(writing);
  SoHandle.open(path).close();
});

t.test('a file that was open for writing a moment ago is taken', async (t) => {
  // A child process that is about to call execve(2) has what its parent was writing open for as long.
  const cwd = t.testdir();
  const { so: path } = copyBuilds(builds, cwd);
  const program = `
    import { SoHandle } from 'soswap';
    SoHandle.open('${path}').close();
  `;
  const LD_PRELOAD = compile('faults.c', `${cwd}/faults.so`);
  const open = (writers: number) =>
    runProgram(program, { cwd, env: { LD_PRELOAD, SOSWAP_TEST_WRITERS: `${writers}` } });
  t.match(await open(1), exitedCleanly);
  t.match(await open(1e9), { code: 1, signal: null, stderr: /ERR_SOSWAP_BEING_WRITTEN/ });
});

/** Takes a write lease, fcntl(2), and gives it back when it reads a line. NFS and Samba servers do so for their clients. */
const lease = `
import fcntl, os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
file = os.open(sys.argv[1], os.O_RDONLY)
try:
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
except OSError as error:
    sys.exit(str(error))
print('held', flush=True)
sys.stdin.readline()
`;

/** Why no lease can be had here; `false` if one can. */
function noLease(): string | false {
  const { status, stderr } = spawnSync('python3', ['-c', lease, builds.so], { encoding: 'utf8' });
  return status !== 0 && `no lease can be had: ${stderr ?? 'there is no python3'}`;
}

t.test(
  'a file with a write lease is refused, until that is given back',
  { skip: noLease() },
  async (t) => {
    const { so: path } = copyBuilds(builds, t.testdir());
    const holder = spawn('python3', ['-c', lease, path], { stdio: ['pipe', 'pipe', 'inherit'] });
    const closed = once(holder, 'close');
    await once(holder.stdout, 'data', soon());
    t.throws(() => SoHandle.open(path), beingWritten);
    holder.stdin.end('\n');
    t.same(await closed, [0, null]);
    SoHandle.open(path).close();
  },
);

t.test('a file that somebody has open for reading is taken', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const reading = openSync(path, 'r');
  SoHandle.open(path).close();
  closeSync(reading);
});

t.test('where a file system refuses every lease, what is read twice decides', async (t) => {
  const cwd = t.testdir();
  const { so: path, two } = copyBuilds(builds, cwd);
  const program = `
    import { renameSync } from 'node:fs';
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('${path}', { version: { return: 'string' } });
    renameSync('${two}', '${path}');
    await so.swap();
    process.send([so.functions.version(), so.status()]);
  `;
  const LD_PRELOAD = compile('faults.c', `${cwd}/faults.so`);
  const onFileSystem = (SOSWAP_TEST_FILE_SYSTEM: string) =>
    runProgram(program, {
      cwd,
      env: { LD_PRELOAD, SOSWAP_TEST_WRITERS: '1000000', SOSWAP_TEST_FILE_SYSTEM },
    });
  const ext4 = '0xef53';
  const local = { code: 1, signal: null, stderr: /ERR_SOSWAP_BEING_WRITTEN/ };
  t.match(await onFileSystem(ext4), local);
  const nfs = '0x6969';
  t.match(await onFileSystem(nfs), { ...exitedCleanly, messages: [['build 2222', 'current']] });
});
