import type { Definitions } from '../call/types.js';
import type { Generation } from '../image/generation.js';
import { abandon } from '../image/loading.js';
import { SoError } from '../internal/errors.js';
import { type Steps, step } from '../internal/steps.js';
import { expired, forCode, within } from './limit.js';
import type { SwapPlan } from './plan.js';
import type { SwapTarget } from './target.js';

/**
 * Loads the next image beside the one that runs. On another thread it waits no longer than the limit; an image that comes
 * later is given up.
 *
 * @returns The nanoseconds that it held the JavaScript thread.
 * @throws {SoError} `ERR_SOSWAP_LOADER`
 */
export function* openBeside<D extends Definitions>(
  { path, table }: SwapTarget<D>,
  { number, candidate, image }: Generation,
  plan: Pick<SwapPlan<D>, 'onThread' | 'timeout' | 'signal'>,
): Steps<bigint> {
  const here = () => {
    const began = process.hrtime.bigint();
    candidate.open(image, number);
    return process.hrtime.bigint() - began;
  };
  const there = async () => {
    const limit = forCode(plan);
    const load = candidate.openAsync(image, number, table);
    if ((await within(load, limit)) !== expired) return 0n;
    abandon(
      load.then(() => candidate.retireAsync(image, candidate.source.unload)),
      path,
    );
    const message = `cannot load '${path}': a constructor has not returned within ${limit.timeout} ms`;
    throw new SoError('ERR_SOSWAP_LOADER', message, path);
  };
  return yield* step(here, plan.onThread ? there : async () => here());
}
