// Replaces a library under each way that JavaScript has to call C, and prints the table of docs/comparison.md: the results
// of the calls, and the signal that ended the process.
//
//   npm run build
//   node --import ./tools/typescript.js test/campaigns/comparison.ts [--write]
//
// With --write it puts the table into docs/comparison.md and the telling rows into README.md, between their markers.
// Installs the runtimes first (tools/runtimes).

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { contenders, outcome, rows, title } from '../../fixtures/comparison.js';
import { MarkdownFile, markdownTable } from '../../fixtures/markdown.js';

const all = contenders();
const head = ['case', ...all.map(title)];
const lines = rows.map((row) => [
  row.text,
  ...all.map((contender) => {
    const directory = mkdtempSync(join(tmpdir(), 'soswap-comparison-'));
    const text = outcome(contender, row, directory);
    rmSync(directory, { recursive: true });
    return text;
  }),
]);
const table = markdownTable([head, ...lines]);
if (process.argv.includes('--write')) {
  const telling = lines.filter((_, index) => rows[index]?.telling);
  new MarkdownFile('docs/comparison.md').replaceTable('comparison', table);
  new MarkdownFile('README.md').replaceTable('comparison', markdownTable([head, ...telling]));
} else {
  console.log(table);
}
