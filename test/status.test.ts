import { execFileSync } from 'node:child_process';
import {
  closeSync,
  futimesSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  utimesSync,
} from 'node:fs';
import { type FileStatus, type SoErrorCode, SoHandle } from 'soswap';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { nextTimeStamp } from '../fixtures/time-stamps.js';
import { until } from '../fixtures/until.js';

const builds = twoBuilds(t.testdir());

// In a directory that holds so1.so, so2.so and so.so, a copy of the first: what they make of it, and why no swap does.
const changes: [command: string, status: FileStatus, refused?: SoErrorCode][] = [
  ['true', 'current'],
  ['cat so.so', 'current'],
  ['ls -l', 'current'],
  ['chmod 600 so.so', 'current'],
  ['touch so.so', 'current'],
  ['cp so1.so so.so', 'current'],
  ['ln so.so link.so', 'current'],
  ['mv so.so other.so; mv other.so so.so', 'current'],
  ['rm so.so', 'missing', 'ERR_SOSWAP_NOT_FOUND'],
  ['mv so.so other.so', 'missing', 'ERR_SOSWAP_NOT_FOUND'],
  ['rm so.so; ln -s nothing so.so', 'missing', 'ERR_SOSWAP_NOT_FOUND'],
  ['mv so2.so so.so', 'replaced'],
  ['cp so2.so so.so', 'overwritten'],
  ['touch -r so.so stamp; cp so2.so so.so; touch -r stamp so.so', 'overwritten'],
  ['truncate -s 0 so.so', 'overwritten', 'ERR_SOSWAP_TRUNCATED'],
  ['echo more >>so.so', 'overwritten'],
  ['strip so.so', 'overwritten'],
  ['rm so.so; cp so2.so so.so', 'replaced'],
  ['rm so.so; cp -p so1.so so.so', 'current'],
  ['rm so.so; cp so1.so so.so', 'current'],
  ['mv so1.so so.so', 'current'],
  ['install so1.so so.so', 'current'],
  ['ln -sfn so1.so so.so', 'current'],
  ['rm so.so; mkfifo so.so', 'replaced', 'ERR_SOSWAP_NOT_A_FILE'],
  ['install so2.so so.so', 'replaced'],
  ['ln -sfn so2.so so.so', 'replaced'],
  ['rm so.so; mkdir so.so', 'replaced', 'ERR_SOSWAP_NOT_A_FILE'],
];

for (const inode of ['kept', 'free']) {
  for (const [command, status, refused] of changes) {
    t.test(`${command}: ${status} (old inode number ${inode})`, async (t) => {
      const cwd = t.testdir();
      const { so: path, one } = copyBuilds(builds, cwd);
      // An open file keeps its inode number; a removed one's is often given to the next file.
      const held = inode === 'kept' ? openSync(path, 'r') : undefined;
      const so = SoHandle.open(path);
      t.equal(so.status(), 'current');
      nextTimeStamp(one);
      execFileSync('sh', ['-c', command], { cwd });
      t.equal(so.status(), status);
      if (refused === undefined) await so.swap();
      else await t.rejects(so.swap(), { code: refused });
      t.equal(so.status(), refused === undefined ? 'current' : status, 'after a swap');
      so.close();
      if (held !== undefined) closeSync(held);
    });
  }
}

t.test('a file that is being written counts as overwritten', async (t) => {
  const { so: path, one } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path);
  nextTimeStamp(one);
  const file = openSync(path, 'r+');
  t.equal(so.status(), 'current', 'nothing is written yet');
  futimesSync(file, 1, 1);
  t.equal(so.status(), 'overwritten');
  closeSync(file);
  t.equal(so.status(), 'current', 'the bytes came out as they were');
  so.close();
});

t.test('two builds of one size: equal size and time stamps do not hide new bytes', async (t) => {
  const cwd = t.testdir();
  const { so: path, one, two } = copyBuilds(builds, cwd);
  const [before, after] = [one, two].map((file) => statSync(file).size);
  t.equal(before, after, 'the fixtures have one size');
  const so = SoHandle.open(path, { version: { return: 'string' } });
  const { size, mtimeNs } = statSync(path, { bigint: true });
  nextTimeStamp(one);
  execFileSync('sh', ['-c', 'touch -r so.so so2.so; cp -p so2.so so.so'], { cwd });
  t.match(statSync(path, { bigint: true }), { size, mtimeNs });
  t.equal(so.status(), 'overwritten');
  so.swapSync();
  t.equal(so.functions.version(), 'build 2222');
  so.close();
});

t.test(
  'the same bytes in another file: status() reads them once, and a swap takes them',
  async (t) => {
    const cwd = t.testdir();
    const { so: path } = copyBuilds(builds, cwd);
    const so = SoHandle.open(path, { count: { return: 'int32' } });
    t.equal(so.functions.count(), 1);
    execFileSync('sh', ['-c', 'mv so1.so so.so'], { cwd });
    t.equal(await so.statusAsync(), 'current');
    t.equal(so.status(), 'current');
    t.equal(so.functions.count(), 2);
    t.equal((await so.swap()).generation, 2);
    t.equal(so.functions.count(), 1, 'a swap that was asked for begins anew');
    t.equal(so.status(), 'current');
    so.close();
  },
);

t.test('an answer is remembered for a file that is not new', async (t) => {
  const { so: path, one } = copyBuilds(builds, t.testdir());
  truncateSync(path, 50e6);
  truncateSync(one, 50e6);
  const so = SoHandle.open(path, {}, { debugInfo: true });
  renameSync(one, path);
  const bytesRead = () => Number(/rchar: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);
  const cost = () => {
    const before = bytesRead();
    t.equal(so.status(), 'current');
    return bytesRead() - before;
  };
  const { ctimeMs } = statSync(path);
  await until('its time stamps say that it is not new', () => Date.now() > ctimeMs + 150);
  t.ok(cost() > 40e6);
  t.ok(cost() < 1e6);
  t.ok(cost() < 1e6);
  nextTimeStamp(path);
  utimesSync(path, 1, 1);
  t.ok(cost() > 40e6, 'it was touched');
  so.close();
});
