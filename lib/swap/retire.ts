import type { Generation } from '../image/generation.js';
import type { RetainReason, UnloadPolicy } from '../image/image-info.js';
import { type Steps, step } from '../internal/steps.js';
import { idle } from './drain.js';
import type { SwapTarget } from './target.js';

/** What became of an old generation. */
export interface Retirement {
  /** Why its image is still mapped; empty if it is gone. */
  readonly retained: readonly RetainReason[];
  /** Nanoseconds that it held the JavaScript thread. */
  readonly pause: bigint;
}

/**
 * Gives a generation up that no function runs any more: waits for its calls in flight, unmaps its image or leaves it
 * mapped, and releases its private copy. Work of its own: nothing of the generation that runs now depends on it.
 *
 * @param onThread Unmap on another thread, where the driver waits.
 * @param closed Why the image is still mapped, if it was closed before.
 */
export function* retire(
  { table }: SwapTarget,
  { candidate, image }: Generation,
  unload: UnloadPolicy,
  onThread: boolean,
  closed?: readonly RetainReason[],
): Steps<Retirement> {
  yield* idle(table, image);
  let held = 0n;
  const holding = <T>(work: () => T): T => {
    const began = process.hrtime.bigint();
    const result = work();
    held += process.hrtime.bigint() - began;
    return result;
  };
  const here = () => holding(() => candidate.retire(image, unload));
  // If no other thread can do it, this one does.
  const there = () => candidate.retireAsync(image, unload).catch(here);
  let retained = closed;
  try {
    retained ??= yield* step(here, onThread ? there : async () => here());
    holding(() => candidate.release());
  } catch (error) {
    // The new generation runs whatever becomes of this one.
    retained ??= [{ code: 'unknown', detail: `giving it up failed: ${error}` }];
  }
  return { retained, pause: held };
}
