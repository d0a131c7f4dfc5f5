import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { isMissing, noReplacements, replace, shell, tools } from '../fixtures/replacement-tools.js';
import { Watched, Witness } from '../fixtures/watched.js';

const directory = t.testdir({ witness: {} });
const builds = twoBuilds(directory);
const witness = new Witness(builds, join(directory, 'witness'));

for (const tool of tools) {
  t.test(`${tool.name}: one swap, and the new code`, { skip: isMissing(tool) }, async (t) => {
    const directory = t.testdir();
    copyBuilds(builds, directory);
    if (tool.setup !== undefined) shell(directory, tool.setup);
    const watched = new Watched(t, join(directory, tool.path ?? 'so.so'));
    t.equal(watched.line, 1111);
    await replace(tool, directory);
    await watched.told(1);
    await witness.passed();
    t.same(watched.events, [2], 'one swap, nothing refused');
    t.equal(watched.line, tool.after ?? 2222);
    t.equal(watched.so.status(), 'current');
  });
}

for (const tool of noReplacements) {
  t.test(`${tool.name}: no swap`, { skip: isMissing(tool) }, async (t) => {
    const directory = t.testdir();
    const { so, two } = copyBuilds(builds, directory);
    const watched = new Watched(t, so);
    await replace(tool, directory);
    await witness.passed();
    t.same(watched.events, []);
    t.equal(watched.line, 1111);
    copyFileSync(two, so);
    await watched.told(1);
    t.equal(watched.line, 2222, 'the watch goes on');
    t.same(watched.events, [2]);
  });
}
