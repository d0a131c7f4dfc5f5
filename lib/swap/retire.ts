import type { Candidate } from '../image/candidate.js';
import type { Generation } from '../image/generation.js';
import type { LeftBehind, RetainReason, UnloadPolicy } from '../image/image-info.js';
import { sweep } from '../image/sweep.js';
import { runAsync, type Steps, step } from '../internal/steps.js';
import { native } from '../native/addon.js';
import { callsEnd, idle } from './drain.js';
import { announceHookLines } from './hook-lines.js';
import { expired, forCode, within } from './limit.js';
import type { SwapTarget } from './target.js';

/** What became of an old generation. */
export interface Retirement {
  /** Why its image is still mapped; empty if it is gone. */
  readonly retained: readonly RetainReason[];
  /** What it has not given back; `null` if that is not counted. */
  readonly leftBehind: LeftBehind | null;
  /** Nanoseconds that it held the JavaScript thread. */
  readonly pause: bigint;
}

/** How an old generation is retired. */
export interface RetirePlan {
  readonly unload: UnloadPolicy;
  /** Unmap on another thread, where the driver waits. */
  readonly onThread: boolean;
  /** Milliseconds to wait for calls in flight, and again for an unmapping on another thread. */
  readonly timeout: number;
}

const byDestructors: readonly RetainReason[] = [
  {
    code: 'calls-in-flight',
    detail: 'its destructors have not returned; they run on another thread',
  },
];

/**
 * Retires a generation that no function runs: waits for its calls in flight, unmaps its image or leaves it mapped, and
 * releases the private copies that nobody needs any more. Work of its own: the generation that runs now does not depend on it, and it never throws.
 * What has not returned in time retains the image, which goes by itself when it has.
 */
export function* retire(
  target: SwapTarget,
  generation: Generation,
  { unload, onThread, timeout }: RetirePlan,
  dropped: readonly Candidate[],
): Steps<Retirement> {
  const { candidate, image } = generation;
  yield* idle(target.table, image, { timeout, ending: target.ending });
  if (image.callsInFlight > 0) {
    const retained = candidate.leaveToCalls(image);
    candidate.source.retained.describe(image.facts.loaderName, generation.info);
    const later = { unload, onThread, timeout };
    void callsEnd(target.table, image)
      .then(() => runAsync(retire(target, generation, later, dropped)))
      .then(sweep);
    return { retained, leftBehind: leftBehind(generation), pause: 0n };
  }
  let held = 0n;
  const holding = <T>(work: () => T): T => {
    const began = process.hrtime.bigint();
    const result = work();
    held += process.hrtime.bigint() - began;
    return result;
  };
  /** The hook soswap_unload may call back into JavaScript. */
  const unloading = <T>(work: () => T): T => {
    const { exchanging } = target;
    target.exchanging ||= generation.hasLife;
    try {
      return work();
    } finally {
      target.exchanging = exchanging;
    }
  };
  const here = () => holding(() => unloading(() => candidate.retire(image, unload)));
  const there = async () => {
    if (!onThread) return here();
    void image.facts; // as long as it is open
    const unmapping = unloading(() => candidate.retireAsync(image, unload, dropped));
    const reasons = await within(unmapping, forCode({ timeout }));
    if (reasons !== expired) return reasons;
    void unmapping.then(sweep);
    return candidate.closed(image, byDestructors);
  };
  const retained = generation.closed ?? (yield* step(here, there));
  announceHookLines();
  if (retained.length > 0)
    candidate.source.retained.describe(image.facts.loaderName, generation.info);
  holding(() => {
    for (const each of dropped) each.release();
  });
  return { retained, leftBehind: leftBehind(generation), pause: held };
}

function leftBehind({ candidate, image }: Generation): LeftBehind | null {
  return candidate.source.account ? native.leftBehind(image.facts.loaderName) : null;
}
