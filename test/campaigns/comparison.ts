// Replaces a library under each way that JavaScript has to call C, and prints the table of the README: what becomes of
// the process and of the code.
//
//   npm run build
//   node --import @tapjs/typescript/import test/campaigns/comparison.ts [--write]
//
// With --write it puts the table into README.md, between its markers. Installs the runtimes first (tools/runtimes).

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { contenders, outcome, rows, title } from '../../fixtures/comparison.js';
import { MarkdownFile, markdownTable } from '../../fixtures/markdown.js';

const all = contenders();
const lines = rows.map((row) => [
  row.text,
  ...all.map((contender) => {
    const directory = mkdtempSync(join(tmpdir(), 'soswap-comparison-'));
    const text = outcome(contender, row, directory);
    rmSync(directory, { recursive: true });
    return text;
  }),
]);
const table = markdownTable([['what happens', ...all.map(title)], ...lines]);
if (process.argv.includes('--write'))
  new MarkdownFile('README.md').replaceTable('comparison', table);
else console.log(table);
