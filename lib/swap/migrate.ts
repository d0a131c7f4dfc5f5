import { FunctionTable } from '../call/function-table.js';
import type { Definitions } from '../call/types.js';
import { Generation } from '../image/generation.js';
import { sweep } from '../image/sweep.js';
import { SoError } from '../internal/errors.js';
import { type Steps, step } from '../internal/steps.js';
import { isThenable } from '../internal/thenable.js';
import { callsEnd, idle } from './drain.js';
import { exchange } from './exchange.js';
import { announceHookLines } from './hook-lines.js';
import { expired, type Limit, within } from './limit.js';
import type { Migrate, Migration } from './plan.js';
import { SwapTarget } from './target.js';

/**
 * Lets the program carry state from the running image to the next one. Both are loaded, and no call is in flight in
 * either, before and after. The functions throw as soon as it has ended.
 *
 * @throws {SoError} `ERR_SOSWAP_MIGRATE`
 */
export function* migrateState<D extends Definitions>(
  target: SwapTarget<D>,
  previous: Generation,
  next: Generation,
  migrate: Migrate<D>,
  limit: Limit,
): Steps<void> {
  const { source, definitions, ending } = target;
  const from = new FunctionTable(source, definitions);
  const to = new FunctionTable(source, definitions);
  const end = () => {
    from.close();
    to.close();
  };
  const ignoreEnding = ending.listen(end); // before close() of the handle unmaps the image
  target.exchanging = true; // a hook may call back into JavaScript
  try {
    next.image.load(previous.image.save());
    void next.image.facts; // with what it kept
  } finally {
    target.exchanging = false;
    announceHookLines();
  }
  try {
    bindTo(from, previous);
    bindTo(to, next);
    const migration = {
      from: from.functions,
      to: to.functions,
      previous: previous.info,
      candidate: next.candidateInfo,
    };
    const verdict = yield* step(
      () => migrateNow(migrate, migration),
      () => migrateLater(migrate, migration, limit),
    );
    if (verdict !== true && verdict !== undefined)
      throw new Error('it did not return true or nothing');
    end();
    yield* idle(from, previous.image, limit);
    yield* idle(to, next.image, limit);
    if (previous.image.callsInFlight + next.image.callsInFlight > 0) {
      throw new Error('it left calls in flight');
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const message = `cannot swap '${source.path}': migrate() refused it: ${why}`;
    throw new SoError('ERR_SOSWAP_MIGRATE', message, source.path, undefined, { cause });
  } finally {
    end();
    ignoreEnding();
    leaveToCalls(to, next);
  }

  /** The optional symbols that an image lacks are `null`, as in the functions of the handle. */
  function bindTo(table: FunctionTable<D>, { number, candidate, image }: Generation): void {
    const target = new SwapTarget(source, definitions, table);
    exchange(target, new Generation(number, candidate, image), 'none');
  }
}

/** Calls that it left behind keep the image, which goes when they have returned. */
function leaveToCalls(table: FunctionTable, { candidate, image }: Generation): void {
  if (image.callsInFlight === 0) return;
  candidate.leaveToCalls(image);
  void callsEnd(table, image)
    .then(() => candidate.retire(image))
    .then(sweep);
}

function migrateNow<D extends Definitions>(migrate: Migrate<D>, migration: Migration<D>): unknown {
  const verdict = migrate(migration);
  if (!isThenable(verdict)) return verdict;
  Promise.resolve(verdict).catch(() => {}); // an unhandled rejection would end the process
  throw new Error('it returned a promise, which only swap() waits for');
}

async function migrateLater<D extends Definitions>(
  migrate: Migrate<D>,
  migration: Migration<D>,
  limit: Limit,
): Promise<unknown> {
  const verdict = await within(Promise.resolve(migrate(migration)), limit);
  if (verdict === expired) throw new Error(`it did not settle within ${limit.timeout} ms`);
  return verdict;
}
