import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { Worker } from 'node:worker_threads';
import { SoHandle } from 'soswap';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';

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
    await once(writer.stdout, 'data');

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

t.test('a file that is open for writing for moments only is taken', async (t) => {
  // A child process that is about to call execve(2) has what its parent was writing open for as long.
  const { so: path } = copyBuilds(builds, t.testdir());
  const program = `
    const { closeSync, openSync } = require('node:fs');
    const { parentPort, workerData } = require('node:worker_threads');
    const never = new Int32Array(new SharedArrayBuffer(4));
    for (let round = 0; ; round++) {
      const file = openSync(workerData, 'r+');
      if (round === 0) parentPort.postMessage('begun');
      Atomics.wait(never, 0, 0, 8);
      closeSync(file);
      Atomics.wait(never, 0, 0, 2);
    }
  `;
  const writer = new Worker(program, { eval: true, workerData: path });
  await once(writer, 'message');
  const tries = 30;
  let taken = 0;
  for (let index = 0; index < tries; index++) {
    try {
      SoHandle.open(path).close();
      taken++;
    } catch (error) {
      t.match(error, beingWritten);
    }
  }
  await writer.terminate();
  t.ok(taken > tries / 2, `${taken} of ${tries} times, though it is closed a fifth of the time`);
});

t.test('a file with a write lease is refused, until that is given back', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  // fcntl(2); NFS and Samba servers take one for their clients.
  const program = `
import fcntl, os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
file = os.open(sys.argv[1], os.O_RDONLY)
try:
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
except OSError as error:
    sys.exit(str(error))
print('held', flush=True)
signal.sigwait([signal.SIGIO])
sys.stdin.readline()
  `;
  const holder = spawn('python3', ['-c', program, path], { stdio: ['pipe', 'pipe', 'pipe'] });
  const complaint = text(holder.stderr);
  const closed = once(holder, 'close');
  await Promise.race([once(holder.stdout, 'data'), closed]);
  if (holder.exitCode !== null) {
    t.pass(`skipped: there is no lease to be had: ${await complaint}`);
    return;
  }
  t.throws(() => SoHandle.open(path), beingWritten);
  holder.stdin.end('\n');
  t.same(await closed, [0, null]);
  SoHandle.open(path).close();
});

t.test('a file that somebody has open for reading is taken', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const reading = openSync(path, 'r');
  SoHandle.open(path).close();
  closeSync(reading);
});
