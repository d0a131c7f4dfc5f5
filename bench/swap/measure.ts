import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import type { Case } from './cases.js';
import { type Contender, limitName, type Programs, type SwapTimes } from './processes.js';
import { median, type Spread, spread } from './statistics.js';

/** How one way to swap did in one case. */
export interface Measured {
  /** Microseconds that the main thread was held at a stretch. */
  readonly pause: Spread;
  /** Microseconds from the call to its end. */
  readonly total: Spread;
  /** Microseconds that the main thread was held in all. */
  readonly held: Spread;
  /** What the reports of soswap say of the pause; `null` for others. */
  readonly told: number | null;
  /** Times what C took in the same round. */
  readonly pauseRatio: Spread;
  readonly totalRatio: Spread;
}

/** What came of a case. */
export interface CaseResult {
  readonly name: string;
  readonly library: string;
  readonly bytes: number;
  readonly functions: number;
  readonly handles: number;
  readonly contenders: Readonly<Record<string, Measured>>;
}

/** Ways to swap, C first: every other is measured by it. */
export const contenders: readonly string[] = [
  limitName,
  'C in Node.js',
  'swapSync',
  'swapSync open-first',
  'swap',
  'swap open-first',
  'koffi',
  'ffi-rs',
  ...(process.getBuiltinModule?.('node:ffi' as 'node:fs') === undefined ? [] : ['node:ffi']),
];

/** How long one contender swaps before the next has its turn, in nanoseconds. */
const turn = 20e6;
const mostInTurn = 50;

/** Has all contenders swap in turns, so that whatever slows the machine down slows all of them down. */
export async function measure(
  each: Case,
  programs: Programs,
  directory: string,
  rounds: number,
): Promise<CaseResult> {
  const setup = each.setup();
  const place = mkdtempSync(join(directory, 'case-'));
  const running: { contender: Contender; swaps: number; rounds: SwapTimes[][] }[] = [];
  try {
    for (const name of contenders) {
      const contender = await programs.start(name, setup, place);
      const warm = (await contender.swap(3)).map(({ total }) => total);
      const swaps = Math.min(mostInTurn, Math.max(1, Math.floor(turn / median(warm))));
      running.push({ contender, swaps, rounds: [] });
    }
    for (let round = 0; round < rounds; round++) {
      for (const each of running) each.rounds.push(await each.contender.swap(each.swaps));
    }
  } finally {
    for (const { contender } of running) await contender.end();
  }
  const limit = running[0]!.rounds.map((round) => median(round.map(({ total }) => total)));
  const measured = running.map(({ contender, rounds }) => [contender.name, summary(rounds, limit)]);
  const { name, functions, handles } = each;
  const { name: library, bytes } = setup.library;
  return { name, library, bytes, functions, handles, contenders: Object.fromEntries(measured) };
}

function summary(rounds: readonly SwapTimes[][], limit: readonly number[]): Measured {
  const medians = (key: 'pause' | 'total' | 'held') =>
    rounds.map((round) => median(round.map((it) => it[key])));
  const microseconds = (times: readonly number[]) => spread(times.map((time) => time / 1000));
  const ratio = (times: readonly number[]) => spread(times.map((time, at) => time / limit[at]!));
  const told = rounds.flat().flatMap((it) => (it.told === null ? [] : [it.told / 1000]));
  const [pause, total] = [medians('pause'), medians('total')];
  return {
    pause: microseconds(pause),
    total: microseconds(total),
    held: microseconds(medians('held')),
    told: told.length > 0 ? median(told) : null,
    pauseRatio: ratio(pause),
    totalRatio: ratio(total),
  };
}
