import { FunctionTable } from '../call/function-table.js';
import type { Definitions } from '../call/types.js';
import { Candidate } from '../image/candidate.js';
import { Generation } from '../image/generation.js';
import { assertLoaderFree } from '../image/loading.js';
import { snapshotMapping } from '../image/mapping.js';
import { assertMayOpen } from '../image/retained-images.js';
import { type Source, warnIfUnbound } from '../image/source.js';
import { runSync } from '../internal/steps.js';
import { exchange } from './exchange.js';
import { SwapTarget } from './target.js';

/** Loads the first generation of a handle, as a swap loads the next: take, inspect, open, commit. */
export function loadFirst<D extends Definitions>(source: Source, definitions: D): SwapTarget<D> {
  assertLoaderFree(source.path);
  const table = new FunctionTable(source, definitions);
  const target = new SwapTarget(source, definitions, table);
  const candidate = runSync(Candidate.take(source, { table }));
  try {
    assertMayOpen(source.path, candidate.staysMapped(source.unload));
    exchange(target, new Generation(1, candidate, candidate.newImage()), 'none');
  } catch (error) {
    candidate.release();
    throw error;
  }
  if (candidate.mapping === snapshotMapping) warnIfUnbound();
  return target;
}
