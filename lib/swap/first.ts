import { FunctionTable } from '../call/function-table.js';
import type { Definitions } from '../call/types.js';
import { type Binding, Candidate } from '../image/candidate.js';
import { Generation } from '../image/generation.js';
import { assertLoaderFree } from '../image/loading.js';
import { snapshotMapping } from '../image/mapping.js';
import { assertMayOpen } from '../image/retained-images.js';
import { type Source, warnIfUnbound } from '../image/source.js';
import type { Steps } from '../internal/steps.js';
import { exchange } from './exchange.js';
import { type LoadPlan, openBeside } from './open-beside.js';
import { SwapTarget } from './target.js';

/** Loads the first generation of a handle, as a swap loads the next: take, inspect, open, commit. */
export function* loadFirst<D extends Definitions>(
  source: Source,
  definitions: D,
  plan: LoadPlan,
  binding?: Binding,
): Steps<SwapTarget<D>> {
  assertLoaderFree(source.path);
  const table = new FunctionTable(source, definitions);
  const target = new SwapTarget(source, definitions, table);
  const candidate = yield* Candidate.take(source, { table }, binding);
  const first = new Generation(1, candidate, candidate.newImage());
  try {
    assertMayOpen(source.path, candidate.staysMapped(source.unload));
    if (plan.onThread) yield* openBeside(target, first, plan);
    exchange(target, first, 'none');
  } catch (error) {
    candidate.retire(first.image);
    candidate.release();
    throw error;
  }
  if (candidate.mapping === snapshotMapping) warnIfUnbound();
  return target;
}
