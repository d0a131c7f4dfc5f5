import { linkSync, unlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { SoHandle } from 'soswap';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, root, runNode } from '../fixtures/child.js';
import { Watched, Witness } from '../fixtures/watched.js';

// Replacements by link(2) and rename(2), which change the ctime of the file that is read.

const directory = t.testdir({ witness: {} });
const builds = twoBuilds(directory);
const witness = new Witness(builds, `${directory}/witness`);

t.test('no swap is refused while the path gets one hard link after the other', async (t) => {
  const campaign = fileURLToPath(new URL('campaigns/links.js', import.meta.url));
  const ended = await runNode([campaign, '--json', '--seconds', '3', '--every', '1'], {
    cwd: root,
  });
  t.match(ended, exitedCleanly);
  const figures = JSON.parse(ended.stdout);
  t.match(figures, { workers: 8, refused: 0 });
  t.ok(figures.flips > 100 && figures.swaps > 100, ended.stdout);
});

t.test('a hard link more or less is no replacement', async (t) => {
  const directory = t.testdir();
  const { so: path } = copyBuilds(builds, directory);
  const watched = new Watched(t, path, 10);
  const so = SoHandle.open(path);
  linkSync(path, `${directory}/link`);
  t.equal(so.status(), 'current');
  await witness.passed();
  unlinkSync(`${directory}/link`);
  t.equal(await so.statusAsync(), 'current');
  await witness.passed();
  t.same(watched.events, []);
  so.close();
});
