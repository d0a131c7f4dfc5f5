import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../native/addon.js';
import { Loop } from './demo/loop.js';
import { type Outcome, replace } from './demo/replace.js';
import { run as execute } from './demo/shell.js';
import { showSqlite } from './demo/sqlite.js';
import { ways } from './demo/ways.js';
import { bold, green, red, yellow } from './paint.js';
import { microseconds, table } from './table.js';
import { temporaryDirectory } from './temporary-directory.js';

const usage = `usage: soswap demo

Compiles two builds of a small library, replaces one by the other under running processes, in each of the
ways in which files get replaced, and shows what they do. Then the same with SQLite and SQLCipher.
Needs a C compiler, and writes nowhere but in a temporary directory of its own.
`;

const introduction = `
The library so.so has a function action(), which prints 1111 in one build and 2222 in the other.
Two processes call it again and again, and the file is replaced under both of them:

  dlopen loop   each time around, opens so.so with dlopen(3) and calls action()
  soswap loop   opened so.so once with SoHandle.open() and keeps its functions; where it says
                swap(), it called that

`;

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { help: { type: 'boolean', short: 'h' } } });
  if (values.help) {
    process.stdout.write(usage);
    return;
  }
  const directory = temporaryDirectory('soswap-demo-');
  process.stdout.write(introduction);
  const outcomes = await replaceInEveryWay(directory);
  process.stdout.write(summary(outcomes));
  process.stdout.write(`\n${bold('The real thing: SQLite becomes SQLCipher in this process')}\n\n`);
  await showSqlite(directory);
}

async function replaceInEveryWay(directory: string): Promise<Outcome[]> {
  const builds = join(directory, 'builds');
  mkdirSync(builds);
  compile(join(builds, 'so1.so'), 1111);
  compile(join(builds, 'so2.so'), 2222);
  // One process for all of them: what does not crash it must not have harmed it either.
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
    green(`${soswap.before} → ${soswap.after}`) + (swapped.sameBuild ? ', same build' : ''),
    swapped.inodes.join(' → '),
    microseconds(swapped.microseconds),
  ]);
  const head = ['way of replacing', 'dlopen loop', 'soswap loop', 'inode', 'swap()'];
  const count = (wanted: (outcome: Outcome) => boolean) => outcomes.filter(wanted).length;
  const crashed = count(({ raw }) => raw.failure !== undefined);
  const stale = count(({ raw }) => raw.stale);
  return `${table(head, rows)}
dlopen loop: ${outcomes.length} processes; ${crashed} crashed, ${stale} went on with the old code
soswap loop: one process went through all ${outcomes.length} and exited with code 0
`;
}

function rawCell({ before, after, failure, stale }: Outcome['raw']): string {
  if (failure !== undefined) return red(`${before} → ${failure}`);
  const text = `${before} → ${after}`;
  return stale ? yellow(`${text}, stale`) : text;
}
