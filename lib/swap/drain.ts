import type { FunctionTable } from '../call/function-table.js';
import type { Image } from '../image/image.js';
import { type Steps, step } from '../internal/steps.js';
import { type Limit, within } from './limit.js';
import type { CommitPlan } from './plan.js';
import type { SwapTarget } from './target.js';

/**
 * Makes sure that the exchange finds no call in flight where that matters. In one go it waits for nothing. Else, with
 * `close-first` or `migrate`, it waits at most `timeout` milliseconds, and nonblocking calls made from then on wait until the
 * table is released; with `open-first` calls go on in the old image.
 *
 * @throws {SoError} `ERR_SOSWAP_BUSY`, `ERR_SOSWAP_CLOSED`
 */
export function* drain(all: readonly Draining[]): Steps<void> {
  yield* step(
    () => {
      for (const { target } of all) target.assertIdle();
    },
    async () => {
      const closing = all.filter(({ plan }) => plan.drains);
      for (const { target } of closing) target.table.hold(target);
      await Promise.all(
        closing.map(({ target, plan: { timeout, signal } }) => {
          const limit = { timeout, signal, ending: target.ending };
          return within(callsEnd(target.table, target.running.image), limit);
        }),
      );
      for (const { target } of closing) target.assertIdle();
    },
  );
}

/** What {@link drain} needs of a prepared swap. */
interface Draining {
  readonly target: SwapTarget;
  readonly plan: CommitPlan;
}

/** Waits, within the limit, until no call is in flight in `image`. In one go it waits for nothing. */
export function* idle(table: FunctionTable, image: Image, limit: Limit): Steps<void> {
  if (image.callsInFlight === 0) return;
  yield* step<unknown>(
    () => {},
    () => within(callsEnd(table, image), limit),
  );
}

/** Resolves when no call is in flight in `image`: perhaps never. */
export async function callsEnd(table: FunctionTable, image: Image): Promise<void> {
  while (image.callsInFlight > 0) await table.nextSettled();
}

/**
 * Waits at most `timeout` milliseconds until no call is in flight, and calls `close`. New nonblocking calls wait as long,
 * and are refused then.
 *
 * @throws {SoError} `ERR_SOSWAP_BUSY`: nothing has changed.
 */
export async function drainAndClose<T>(
  target: SwapTarget,
  timeout: number,
  close: () => T,
): Promise<T> {
  const holder = {};
  target.table.hold(holder);
  try {
    await within(allCallsEnd(target), { timeout, ending: target.ending });
    return close();
  } finally {
    target.table.release(holder);
  }
}

/** The same as {@link callsEnd} for whatever image runs meanwhile. */
async function allCallsEnd(target: SwapTarget): Promise<void> {
  while ((target.current?.image.callsInFlight ?? 0) > 0) await target.table.nextSettled();
}
