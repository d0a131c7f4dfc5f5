import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { main, Running } from '../fixtures/child.js';
import { Watched, Witness } from '../fixtures/watched.js';

// Writers that open the file for each piece and pause in between.

const directory = t.testdir({ witness: {} });
const builds = twoBuilds(directory);
const witness = new Witness(builds, `${directory}/witness`);

/** Empties the file and writes the pieces, each opened and closed, with pauses before each. */
async function drip(path: string, bytes: Buffer, pieces: number, pause: number, size = 0) {
  writeFileSync(path, Buffer.alloc(size)); // as many zeros, where the writer allocates the file
  const length = Math.ceil(bytes.length / pieces);
  for (let begin = 0; begin < bytes.length; begin += length) {
    await sleep(pause);
    const file = await open(path, 'r+');
    await file.write(bytes.subarray(begin, begin + length), 0, undefined, begin);
    await file.close();
  }
}

for (const [pieces, pause, allocates] of [
  [12, 70, false],
  [3, 1000, false],
  [2, 300, true],
] as const) {
  t.test(
    `a file in ${pieces} pieces, ${pause} ms apart${allocates ? ', allocated first' : ''}, is swapped once`,
    async (t) => {
      const { so: path, two } = copyBuilds(builds, t.testdir());
      const watched = new Watched(t, path, 20);
      const bytes = readFileSync(two);
      await drip(path, bytes, pieces, pause, allocates ? 64 : 0);
      await watched.told(1);
      await witness.passed();
      t.same(watched.events, [2]);
      t.equal(watched.line, 2222);
    },
  );
}

t.test('a file that stays broken is refused once, and late', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const watched = new Watched(t, path, 20);
  const began = performance.now();
  await drip(path, readFileSync(two).subarray(0, 4000), 5, 70);
  await watched.told(1);
  t.ok(performance.now() - began > 1000, 'a writer could have gone on');
  await witness.passed();
  t.same(watched.events, ['ERR_SOSWAP_TRUNCATED']);
  renameSync(two, path);
  await watched.told(2);
  t.same(watched.events, ['ERR_SOSWAP_TRUNCATED', 2]);
});

t.test('a library that lacks only its section headers is swapped', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const bytes = readFileSync(two);
  const watched = new Watched(t, path, 20);
  const sections = Number(bytes.readBigUInt64LE(40));
  t.ok(sections > 0 && sections < statSync(two).size);
  writeFileSync(path, bytes.subarray(0, sections));
  await watched.told(1);
  t.same(watched.events, [2]);
  t.equal(watched.line, 2222);
});

t.test('the command watch waits for such writers too', async (t) => {
  const cwd = t.testdir();
  const { so: path, two } = copyBuilds(builds, cwd);
  const running = new Running([main, 'watch', './so.so', '--settle', '20', '--exec', 'echo new'], {
    cwd,
  });
  t.teardown(() => running.child.kill('SIGKILL'));
  await sleep(500);
  await drip(path, readFileSync(two), 6, 100);
  await running.says(/new\n/);
  const { stdout, stderr } = await running.end('SIGINT');
  t.match(stdout, /^replaced: [^\n]*\nnew\n$/);
  t.equal(stderr, '');
});
