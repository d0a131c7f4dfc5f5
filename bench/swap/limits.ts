import type { CaseResult, Measured } from './measure.js';

/** What is wanted of soswap, and what came of it. */
export interface Verdict {
  readonly wanted: string;
  readonly case: string;
  readonly limit: number;
  readonly measured: number;
  readonly unit: '× C' | 'µs';
  readonly reached: boolean;
}

interface Wish {
  readonly wanted: string;
  readonly contender: string;
  readonly concerns: (result: CaseResult) => boolean;
  readonly figure: (measured: Measured) => number;
  readonly limit: number;
  readonly unit: Verdict['unit'];
}

const anySize = ({ handles, functions }: CaseResult) => handles === 1 && functions <= 100;

const wishes: readonly Wish[] = [
  {
    wanted: 'swap() holds the main thread at most 1.25 times as long as C takes',
    contender: 'swap',
    concerns: anySize,
    figure: ({ pauseRatio }) => pauseRatio.median,
    limit: 1.25,
    unit: '× C',
  },
  {
    wanted: 'swap({ order: "open-first" }) holds the main thread at most 50 µs',
    contender: 'swap open-first',
    concerns: anySize,
    figure: ({ pause }) => pause.median,
    limit: 50,
    unit: 'µs',
  },
  {
    wanted: 'swapSync() takes at most 1.3 times as long as C',
    contender: 'swapSync',
    concerns: (result) => anySize(result) && ['tiny', 'libsqlite3'].includes(result.library),
    figure: ({ totalRatio }) => totalRatio.median,
    limit: 1.3,
    unit: '× C',
  },
];

/** Every wish for every case that it is about. */
export function judge(results: readonly CaseResult[]): Verdict[] {
  return wishes.flatMap(({ wanted, contender, concerns, figure, limit, unit }) =>
    results.filter(concerns).flatMap((result) => {
      const found = result.contenders[contender];
      if (found === undefined) return [];
      const measured = figure(found);
      const reached = measured <= limit;
      return [{ wanted, case: result.name, limit, measured, unit, reached }];
    }),
  );
}
