import type { EventEmitter } from 'node:events';
import { isTemporary, SoError } from '../internal/errors.js';
import { emitRefused, emitSwap } from '../internal/events.js';
import type { Steps } from '../internal/steps.js';
import type { SwapReport } from './report.js';
import type { SwapTarget } from './target.js';
import type { Reports } from './transaction.js';

/** A handle whose swap somebody else asked for, together with that of another one. */
export interface Companion {
  readonly handle: EventEmitter & { path: string };
  readonly target: SwapTarget;
}

/** Reports to handles how swaps end that take effect together. */
export class Outcome {
  readonly #all: readonly (Companion & { before: number })[];

  /** Before the swaps begin. */
  constructor(all: readonly Companion[]) {
    this.#all = all.map(({ handle, target }) => ({
      handle,
      target,
      before: restoredSoFar(target),
    }));
  }

  swapped(reports: Reports): void {
    for (const { handle, target } of this.#all) emitSwap(handle, reports.get(target) as SwapReport);
  }

  /** Returns the error of the library that was refused. */
  refused(thrown: unknown): SoError {
    const error = SoError.of(thrown, 'cannot swap together', this.#all[0]?.target.path ?? '');
    for (const { handle, target, before } of this.#all) {
      emitRefused(handle, errorOf(target, before, error));
    }
    return error;
  }
}

/**
 * Runs the swaps, and reports to these handles how they end.
 *
 * @param triesAgain Whoever asked for the swaps tries again after a refusal that may be temporary, which nobody hears of.
 */
export function* reportingTo(
  all: readonly Companion[],
  swaps: Steps<Reports>,
  triesAgain = false,
): Steps<Reports> {
  const outcome = new Outcome(all);
  let reports: Reports;
  try {
    reports = yield* swaps;
  } catch (thrown) {
    if (!triesAgain || !isTemporary(thrown)) outcome.refused(thrown);
    throw thrown;
  }
  outcome.swapped(reports);
  return reports;
}

function restoredSoFar({ current }: SwapTarget): number {
  return current?.restored ?? 0;
}

/** The error of one handle after `error`, which is that of the library that was refused. */
function errorOf(target: SwapTarget, before: number, error: SoError): SoError {
  if (target.path === error.path) return error;
  const message = `cannot swap '${target.path}' together with others: ${error.message}`;
  const { code } = error;
  const together = new SoError(code, message, target.path, undefined, { cause: error });
  if (target.current?.image.isOpen === false) {
    return together.with('its own image could not be loaded again', 'not-loaded');
  }
  if (restoredSoFar(target) === before) return together;
  return together.with('its own image was closed and loaded again', 'rolled-back');
}
