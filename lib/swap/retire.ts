import type { Generation } from '../image/generation.js';
import type { RetainReason, UnloadPolicy } from '../image/image-info.js';
import { runAsync, type Steps, step } from '../internal/steps.js';
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
 * Retires a generation that no function runs: waits for its calls in flight, unmaps its image or leaves it mapped, and
 * releases its private copy. Work of its own: the generation that runs now does not depend on it, and it never throws.
 *
 * @param onThread Unmap on another thread, where the driver waits.
 */
export function* retire(
  target: SwapTarget,
  generation: Generation,
  unload: UnloadPolicy,
  onThread: boolean,
): Steps<Retirement> {
  const { candidate, image } = generation;
  if (image.callsInFlight > 0) {
    yield* idle(target.table, image);
    if (image.callsInFlight > 0) {
      // In one go nothing waits: a constructor called into JavaScript, which made a nonblocking call in the old image.
      void runAsync(retire(target, generation, unload, onThread));
      const detail = 'calls are in flight in it; it is unmapped when they have returned';
      return { retained: [{ code: 'may-run-threads', detail }], pause: 0n };
    }
  }
  let held = 0n;
  const holding = <T>(work: () => T): T => {
    const began = process.hrtime.bigint();
    const result = work();
    held += process.hrtime.bigint() - began;
    return result;
  };
  const here = () => holding(() => candidate.retire(image, unload));
  const there = async () => (onThread ? candidate.retireAsync(image, unload) : here());
  const retained = generation.closed ?? (yield* step(here, there));
  if (retained.length > 0)
    candidate.source.retained.describe(image.facts.loaderName, generation.info);
  holding(() => candidate.release());
  return { retained, pause: held };
}
