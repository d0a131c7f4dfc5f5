import t from 'tap';
import { MarkdownFile } from '../fixtures/markdown.js';
import { causes } from '../fixtures/retain.js';

t.test('the table says for every cause what becomes of the old image', async (t) => {
  const rows = new MarkdownFile('docs/old-images.md').madeTable('retain-table');
  t.same(
    rows.map(([name]) => name),
    causes.map(({ name }) => name),
  );
  for (const [index, { retained, oldData = false }] of causes.entries()) {
    const [name = '', , swapped, auto, always] = rows[index] ?? [];
    const fate = (code: string | undefined) =>
      new RegExp(code === undefined ? '^unmapped' : `^retained: \`${code}\``);
    t.equal(swapped, oldData ? 'new code, old static data' : 'new code', name);
    t.match(auto, fate(retained.auto), name);
    t.match(always, fate(retained.always), name);
  }
});
