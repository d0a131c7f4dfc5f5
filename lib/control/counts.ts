import type { SwapReport } from '../swap/report.js';
import { bounds, type Histogram, type LibraryCounts } from './messages.js';

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

const newHistogram = (): Histogram => ({ buckets: bounds.map(() => 0), count: 0, sum: 0 });

const newCounts = (): LibraryCounts => ({
  swaps: 0,
  rollbacks: 0,
  refused: {},
  pause: newHistogram(),
  total: newHistogram(),
});

/** Counts swaps, by the path of the library. */
export class Counts {
  readonly #all: Record<string, LibraryCounts> = Object.create(null);

  get all(): Readonly<Record<string, LibraryCounts>> {
    return { ...this.#all };
  }

  swapped(path: string, report: SwapReport): void {
    const { swaps, rollbacks, pause, total, ...others } = this.#of(path);
    this.#all[path] = {
      ...others,
      swaps: swaps + 1,
      rollbacks: rollbacks + (report.rollback ? 1 : 0),
      pause: observed(pause, report.pauseMicroseconds / 1e6),
      total: observed(total, report.totalMicroseconds / 1e6),
    };
  }

  refused(path: string, code: string): void {
    const counts = this.#of(path);
    const refused = { ...counts.refused, [code]: (counts.refused[code] ?? 0) + 1 };
    this.#all[path] = { ...counts, refused };
  }

  #of(path: string): LibraryCounts {
    return this.#all[path] ?? newCounts();
  }
}

function observed({ buckets, count, sum }: Histogram, seconds: number): Histogram {
  const added = buckets.map((each, index) => each + (seconds <= (bounds[index] as number) ? 1 : 0));
  return { buckets: added, count: count + 1, sum: sum + seconds };
}

/** The sum of the counts of several threads. */
export function sumOf(
  all: readonly Readonly<Record<string, LibraryCounts>>[],
): Record<string, LibraryCounts> {
  const sum: Record<string, Writable<LibraryCounts>> = Object.create(null);
  for (const [path, counts] of all.flatMap((each) => Object.entries(each))) {
    const before = sum[path] ?? newCounts();
    const refused = { ...before.refused };
    for (const [code, count] of Object.entries(counts.refused)) {
      refused[code] = (refused[code] ?? 0) + count;
    }
    sum[path] = {
      swaps: before.swaps + counts.swaps,
      rollbacks: before.rollbacks + counts.rollbacks,
      refused,
      pause: sumOfHistograms(before.pause, counts.pause),
      total: sumOfHistograms(before.total, counts.total),
    };
  }
  return sum;
}

function sumOfHistograms(one: Histogram, other: Histogram): Histogram {
  return {
    buckets: one.buckets.map((each, index) => each + (other.buckets[index] ?? 0)),
    count: one.count + other.count,
    sum: one.sum + other.sum,
  };
}
