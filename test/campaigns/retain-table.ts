// Runs every cause of fixtures/retain.ts, and prints the table of docs/old-images.md: the results of dlclose and dlopen, and
// of soswap.
//
//   npm run build
//   node --import ./tools/typescript.js test/campaigns/retain-table.ts [--write]
//
// With --write it puts the table into docs/old-images.md, between its markers. A missing compiler is an error.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Ended, root } from '../../fixtures/child.js';
import { MarkdownFile, markdownTable } from '../../fixtures/markdown.js';
import {
  type Cause,
  cannotCompile,
  causes,
  compileBoth,
  copyBoth,
  plainSwap,
  runSwap,
  type Seen,
  soSwap,
} from '../../fixtures/retain.js';

mkdirSync(join(root, 'build'), { recursive: true });
// Inside the checkout, because the programs import the package by its name.
const directory = mkdtempSync(join(root, 'build', 'retain-table-'));
// Time for a thread to run code of the library.
const end = 'await sleep(300);';

function code({ messages, signal }: Ended): string {
  const [seen] = messages as (Seen | undefined)[];
  const death = signal ?? '';
  if (seen === undefined) return death;
  const isNew = seen.after[0] === 'build 2222';
  const isFresh = seen.after[1] === 1;
  const ran = isNew ? (isFresh ? 'new code' : 'new code, old static data') : 'old code';
  return death === '' ? ran : `${ran}, then ${death}`;
}

function oldImage({ messages, signal }: Ended): string {
  const [seen] = messages as Seen[];
  const reasons = seen?.retained?.map(({ code }) => `\`${code}\``).join(', ');
  const fate = seen?.unmapped ? 'unmapped' : `retained: ${reasons}`;
  return signal === null ? fate : `${fate}, then ${signal}`;
}

async function row(cause: Cause, number: number): Promise<string[]> {
  const missing = cannotCompile(cause);
  if (missing) throw new Error(missing);
  const builds = join(directory, String(number));
  mkdirSync(builds);
  compileBoth(cause, builds);
  const run = (name: string, swap: string) =>
    runSwap(cause, swap, copyBoth(builds, join(directory, `${number}-${name}`)), end);

  const plain = await run('plain', plainSwap);
  const auto = await run('auto', soSwap(cause.options ?? {}, 'swap', 'close-first'));
  const options = { ...cause.options, unload: 'always' } as const;
  const always = await run('always', soSwap(options, 'swap', 'close-first'));
  return [cause.name, code(plain), code(auto), oldImage(auto), oldImage(always)];
}

try {
  const head = [
    'library',
    '`dlclose`, then `dlopen`',
    '`swap()`',
    'old image',
    "old image with `unload: 'always'`",
  ];
  const rows: string[][] = [];
  for (const [number, cause] of causes.entries()) rows.push(await row(cause, number));
  const table = markdownTable([head, ...rows]);
  const write = process.argv.includes('--write');
  if (write) new MarkdownFile('docs/old-images.md').replaceTable('retain-table', table);
  else console.log(table);
} finally {
  rmSync(directory, { recursive: true });
}
