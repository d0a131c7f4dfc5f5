import type { FunctionTable } from '../call/function-table.js';
import type { Definitions } from '../call/types.js';
import type { Image } from '../image/image.js';
import { type Steps, step } from '../internal/steps.js';
import { type Limit, within } from './limit.js';
import type { SwapPlan } from './plan.js';
import type { SwapTarget } from './target.js';

/**
 * Makes sure that the exchange finds no call in flight where that matters. In one go it waits for nothing. Else, with
 * `close-first`, it waits at most `timeout` milliseconds, and nonblocking calls made from then on wait until the table is
 * released; with `open-first` calls go on in the old image.
 *
 * @throws {SoError} `ERR_SOSWAP_BUSY`, `ERR_SOSWAP_CLOSED`
 */
export function* drain<D extends Definitions>(
  target: SwapTarget<D>,
  plan: SwapPlan<D>,
): Steps<void> {
  yield* step(
    () => target.assertIdle(),
    async () => {
      if (plan.order === 'open-first') return;
      target.table.hold();
      await within(callsEnd(target.table, target.running.image), plan);
      target.assertIdle();
    },
  );
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
