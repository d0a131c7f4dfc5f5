import type { SwapReport } from '../swap/report.js';
import {
  bounds,
  type ControlError,
  type ControlEvent,
  type Histogram,
  type LibraryCounts,
} from './messages.js';

const newHistogram = (): Histogram => ({ buckets: bounds.map(() => 0), count: 0, sum: 0 });

const newCounts = (): LibraryCounts => ({
  swaps: 0,
  rollbacks: 0,
  refused: {},
  pause: newHistogram(),
  total: newHistogram(),
});

/** Counts what happens in all threads, by the path of the library. */
export class Counts {
  readonly #all: Record<string, LibraryCounts> = Object.create(null);

  get all(): Readonly<Record<string, LibraryCounts>> {
    return this.#all;
  }

  add({ event, path, data }: ControlEvent): void {
    if (event === 'swap') this.#swapped(path, data as SwapReport);
    else if (event === 'refused') this.#refused(path, (data as ControlError).code);
  }

  #swapped(path: string, report: SwapReport): void {
    const { swaps, rollbacks, pause, total, ...others } = this.#of(path);
    this.#all[path] = {
      ...others,
      swaps: swaps + 1,
      rollbacks: rollbacks + (report.rollback ? 1 : 0),
      pause: observed(pause, report.pauseMicroseconds / 1e6),
      total: observed(total, report.totalMicroseconds / 1e6),
    };
  }

  #refused(path: string, code: string): void {
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
