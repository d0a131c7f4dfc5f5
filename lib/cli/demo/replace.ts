import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { styleText } from 'node:util';
import { pad } from '../../internal/table.js';
import { microseconds } from '../table.js';
import type { SwapAnswer, Swapped } from './handle-loop.js';
import { Loop } from './loop.js';
import { shell } from './shell.js';
import type { Way } from './ways.js';

/** The behaviour of the two loops during one replacement. */
export interface Outcome {
  readonly way: Way;
  readonly raw: {
    readonly before: string;
    readonly after: string;
    /** The signal or the exit code with which the process failed. */
    readonly failure: string | undefined;
    /** The process kept running the old code. */
    readonly stale: boolean;
  };
  readonly soswap: { readonly before: string; readonly after: string };
  readonly swapped: Swapped;
}

/**
 * Replaces one library under both loops, and prints each step.
 *
 * @param builds A directory with so1.so and so2.so.
 * @param soswap A process with handle-loop.js. It keeps running afterwards.
 */
export async function replace(way: Way, builds: string, soswap: Loop): Promise<Outcome> {
  const directory = prepare(way, builds);
  const path = join(directory, way.path ?? 'so.so');
  const raw = new Loop('raw-loop.js', path);
  soswap.send(`open ${path}`);

  row(
    styleText('bold', way.name),
    styleText('dim', 'dlopen loop'),
    styleText('dim', 'soswap loop'),
  );
  row('before', await raw.callAction(), await soswap.callAction());
  const before = { raw: raw.last, soswap: soswap.last };

  let swapped: Swapped | undefined;
  for (const command of way.commands) {
    shell(directory, command);
    row(styleText('dim', `$ ${command}`), await raw.callAction(), await soswap.callAction());
    const answer = await swap(soswap);
    if ('refused' in answer) row('swap()', '', styleText('yellow', `refused: ${answer.refused}`));
    else swapped = answer;
  }
  if (swapped === undefined) throw new Error(`no swap succeeded after ${way.name}`);

  const [rawLines, lines] = [await raw.callAction(), await soswap.callAction()];
  const stale = raw.failure === undefined && raw.last !== soswap.last;
  const time = styleText('dim', microseconds(swapped.microseconds));
  row(
    'swap()',
    stale ? `${rawLines} ${styleText('yellow', 'stale')}` : rawLines,
    `${lines}  ${time}`,
  );
  process.stdout.write('\n');
  await raw.end();
  return {
    way,
    raw: { before: before.raw, after: raw.last, failure: raw.failure, stale },
    soswap: { before: before.soswap, after: soswap.last },
    swapped,
  };
}

function prepare(way: Way, builds: string): string {
  const directory = join(builds, way.name.replaceAll(' ', '-'));
  mkdirSync(directory);
  for (const [build, name] of [
    ['so1.so', 'so1.so'],
    ['so2.so', 'so2.so'],
    ['so1.so', 'so.so'],
  ] as const) {
    copyFileSync(join(builds, build), join(directory, name));
  }
  if (way.setup !== undefined) shell(directory, way.setup);
  return directory;
}

async function swap(soswap: Loop): Promise<SwapAnswer> {
  const line = await soswap.request('swap');
  if (line === undefined) throw new Error(`the soswap loop crashed: ${soswap.failure}`);
  return JSON.parse(line);
}

function row(label: string, raw: string, soswap: string): void {
  process.stdout.write(`  ${pad(label, 30)}${pad(raw, 24)}${soswap}`.trimEnd());
  process.stdout.write('\n');
}
