import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { styleText } from 'node:util';
import { packageRoot } from '../native/addon.js';
import { readArguments } from './arguments.js';
import { Loop } from './demo/loop.js';
import { type Outcome, replace } from './demo/replace.js';
import { run as execute } from './demo/shell.js';
import { showSqlite } from './demo/sqlite.js';
import { ways } from './demo/ways.js';
import { microseconds, table } from './table.js';
import { temporaryDirectory } from './temporary-directory.js';

const usage = `usage: soswap demo

Replaces a small library under running processes, in several ways, and prints the results with dlopen(3) alone and with
soswap. Then replaces SQLite with SQLCipher, if both are installed. Needs a C compiler. Writes only to a temporary
directory, which it removes.

  -h, --help   this help

exit codes: 0 finished; 1 failed; 2 wrong usage; 130 Ctrl-C

example: soswap demo
`;

const introduction = `
The library so.so has a function action(), which prints 1111 in one build and 2222 in the other.
Two processes call it repeatedly while the demo replaces the file:

  dlopen loop   opens so.so with dlopen(3) before each call of action()
  soswap loop   opened so.so once with SoHandle.open(), keeps its functions, and calls swap() where
                the output says so

`;

export async function run(args: string[]): Promise<void> {
  if (readArguments(args, usage, [], {}) === undefined) return;
  const directory = temporaryDirectory('soswap-demo-');
  process.stdout.write(introduction);
  const outcomes = await replaceInEveryWay(directory);
  process.stdout.write(summary(outcomes));
  process.stdout.write(
    `\n${styleText('bold', 'A real library: SQLite becomes SQLCipher in this process')}\n\n`,
  );
  await showSqlite(directory);
}

async function replaceInEveryWay(directory: string): Promise<Outcome[]> {
  const builds = join(directory, 'builds');
  mkdirSync(builds);
  compile(join(builds, 'so1.so'), 1111);
  compile(join(builds, 'so2.so'), 2222);
  // One process for all replacements: each must leave the process intact for the next one.
  const soswap = new Loop('handle-loop.js');
  const outcomes: Outcome[] = [];
  for (const way of ways) outcomes.push(await replace(way, builds, soswap));
  await soswap.end();
  if (soswap.failure !== undefined) throw new Error(`the soswap loop crashed: ${soswap.failure}`);
  return outcomes;
}

function compile(output: string, line: number): void {
  const fixture = (name: string) => join(packageRoot, 'fixtures', name);
  execute('.', fixture('compile'), fixture('action.c'), output, `-DLINE=${line}`);
}

function summary(outcomes: readonly Outcome[]): string {
  const rows = outcomes.map(({ way, raw, soswap, swapped }) => [
    way.name,
    rawCell(raw),
    styleText('green', `${soswap.before} → ${soswap.after}`) +
      (swapped.sameBuild ? ', same build' : ''),
    swapped.inodes.join(' → '),
    microseconds(swapped.microseconds),
  ]);
  const head = ['way of replacing', 'dlopen loop', 'soswap loop', 'inode', 'swap()'];
  const count = (wanted: (outcome: Outcome) => boolean) => outcomes.filter(wanted).length;
  const crashed = count(({ raw }) => raw.failure !== undefined);
  const stale = count(({ raw }) => raw.stale);
  return `${table(head, rows)}
dlopen loop: ${outcomes.length} processes; ${crashed} crashed, ${stale} kept running the old code
soswap loop: one process handled all ${outcomes.length} replacements and exited with code 0
`;
}

function rawCell({ before, after, failure, stale }: Outcome['raw']): string {
  if (failure !== undefined) return styleText('red', `${before} → ${failure}`);
  const text = `${before} → ${after}`;
  return stale ? styleText('yellow', `${text}, stale`) : text;
}
