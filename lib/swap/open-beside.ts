import type { Generation } from '../image/generation.js';
import { abandon } from '../image/loading.js';
import { SoError } from '../internal/errors.js';
import { type Steps, step } from '../internal/steps.js';
import { expired, forCode, type Limit, within } from './limit.js';
import type { SwapTarget } from './target.js';

/** How an image is loaded. */
export interface LoadPlan extends Limit {
  /** On another thread, where the driver waits. */
  readonly onThread: boolean;
}

/**
 * Loads the next image beside the one that runs. On another thread it waits no longer than the limit; an image that comes
 * later is given up.
 *
 * @returns The nanoseconds that it held the JavaScript thread.
 * @throws {SoError} `ERR_SOSWAP_LOADER`
 */
export function* openBeside(
  { path, table, ending }: SwapTarget,
  { number, candidate, image }: Generation,
  plan: LoadPlan,
): Steps<bigint> {
  const here = () => {
    const began = process.hrtime.bigint();
    candidate.open(image, number);
    return process.hrtime.bigint() - began;
  };
  const there = async () => {
    const limit = forCode(plan);
    const load = candidate.openAsync(image, number, table);
    if ((await within(load, { ...limit, ending })) !== expired) return 0n;
    abandon(
      load.then(() => candidate.retireAsync(image, candidate.source.unload)),
      path,
    );
    const message = `cannot load '${path}': a constructor has not returned within ${limit.timeout} ms`;
    throw new SoError('ERR_SOSWAP_LOADER', message, path);
  };
  return yield* step(here, plan.onThread ? there : async () => here());
}
