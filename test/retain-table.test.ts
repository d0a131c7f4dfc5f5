import { readFileSync } from 'node:fs';
import t from 'tap';
import { causes, markers } from '../fixtures/retain.js';

t.test('the README tells of every cause what becomes of the old image', async (t) => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const table = readme.split(markers.begin)[1]?.split(markers.end)[0] ?? '';
  const rows = table
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .slice(2)
    .map((line) => line.slice(2, -2).split(' | '));
  t.same(
    rows.map(([name]) => name),
    causes.map(({ name }) => name),
  );
  for (const [index, { retained, oldData = false }] of causes.entries()) {
    const [name = '', , swapped, auto, always] = rows[index] ?? [];
    const fate = (code: string | undefined) =>
      new RegExp(code === undefined ? '^unmapped' : `^stays: \`${code}\``);
    t.equal(swapped, oldData ? 'new code, old static data' : 'new code', name);
    t.match(auto, fate(retained.auto), name);
    t.match(always, fate(retained.always), name);
  }
});
