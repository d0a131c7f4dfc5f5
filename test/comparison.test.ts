import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { outcome, rows, soswap } from '../fixtures/comparison.js';
import { MarkdownFile } from '../fixtures/markdown.js';

t.test('soswap does what the comparison says', async (t) => {
  const root = t.testdir();
  const directories = rows.map((_, index) => join(root, String(index)));
  for (const directory of directories) mkdirSync(directory);
  const written = new MarkdownFile('docs/comparison.md').madeTable('comparison');
  const column = written.map((cells) => [cells[0], cells.at(-1)]);
  t.same(
    column,
    rows.map((row, index) => [row.text, outcome(soswap, row, directories[index]!)]),
  );
});

t.test('the README shows the telling rows of the comparison', async (t) => {
  const written = new MarkdownFile('docs/comparison.md').madeTable('comparison');
  const telling = written.filter((_, index) => rows[index]?.telling);
  t.equal(telling.length, 3);
  t.same(new MarkdownFile('README.md').madeTable('comparison'), telling);
});
