import { FunctionTable } from '../call/function-table.js';
import type { Definitions } from '../call/types.js';
import { type Binding, Candidate } from '../image/candidate.js';
import { Generation } from '../image/generation.js';
import { assertLoaderFree } from '../image/loading.js';
import { snapshotMapping } from '../image/mapping.js';
import { assertMayOpen } from '../image/retained-images.js';
import { type Source, warnIfUnbound } from '../image/source.js';
import type { Steps } from '../internal/steps.js';
import { type TakeBack, takeBackAll } from '../internal/take-back.js';
import type { HandedOver } from '../native/types.js';
import { exchange } from './exchange.js';
import { forCode } from './limit.js';
import { type LoadPlan, openBeside } from './open-beside.js';
import type { SwapDefaults, SwapPlan, Verify } from './plan.js';
import { PrivateDependencies } from './private-dependencies.js';
import { type Quarantine, quarantine } from './quarantine/quarantine.js';
import { SwapTarget } from './target.js';
import { transaction } from './transaction.js';
import type { Company } from './turns.js';
import { endTrial, verify } from './verify.js';

/** How the first image is loaded. */
export interface FirstPlan<D extends Definitions> extends LoadPlan {
  readonly quarantine: Quarantine | undefined;
  readonly verify: Verify<D> | undefined;
  /** What the first image begins with. */
  readonly state: HandedOver | undefined;
  /** Those of the swaps that come. */
  readonly defaults: SwapDefaults<D>;
}

/** What a handle consists of. */
export interface Loaded<D extends Definitions> {
  readonly target: SwapTarget<D>;
  readonly company?: Company;
}

/** Loads the first generation of a handle, as a swap loads the next: take, inspect, quarantine, verify, open, commit. */
export function* loadFirst<D extends Definitions>(
  source: Source,
  definitions: D,
  plan: FirstPlan<D>,
  binding?: Binding,
): Steps<Loaded<D>> {
  assertLoaderFree(source.path);
  const table = new FunctionTable(source, definitions);
  const target = new SwapTarget(source, definitions, table, plan.defaults);
  if (plan.state !== undefined) table.slots.give(plan.state);
  if (source.sourceOfDependency !== undefined) {
    const company = yield* loadWithDependencies(target, source.sourceOfDependency, plan);
    return { target, company };
  }
  const candidate = yield* Candidate.take(source, { table }, binding);
  const takeBack: TakeBack = [() => candidate.release()];
  try {
    assertMayOpen(source.path, candidate.staysMapped(source.unload));
    if (plan.quarantine !== undefined) {
      const { ending } = target;
      const order = 'close-first';
      const rehearsal = {
        candidate,
        running: undefined,
        order,
        unload: source.unload,
        ending,
      } as const;
      yield* quarantine(rehearsal, plan.quarantine);
    }
    const spare =
      plan.verify && (yield* verify(candidate, definitions, plan.verify, forCode(plan)));
    if (spare !== undefined) takeBack.push(() => candidate.giveUp(spare));
    const first = new Generation(1, candidate, candidate.newImage());
    takeBack.push(() => candidate.retire(first.image));
    if (plan.onThread) yield* openBeside(target, first, plan);
    exchange(target, first, 'none');
    if (spare !== undefined) endTrial(spare, first);
  } catch (error) {
    takeBackAll(takeBack);
    throw error;
  }
  if (candidate.mapping === snapshotMapping) warnIfUnbound();
  return { target };
}

/** The same of a library that has its dependencies to itself: one exchange opens it with them. */
function* loadWithDependencies<D extends Definitions>(
  target: SwapTarget<D>,
  sourceOf: (path: string) => Source,
  { quarantine, verify, onThread, timeout }: FirstPlan<D>,
): Steps<PrivateDependencies> {
  const { unload } = target.source;
  const order = 'open-first';
  const from = 'file';
  const [signal, migrate, probation] = [undefined, undefined, undefined] as const;
  const [isBeside, drains] = [true, false] as const;
  const plan = {
    quarantine,
    verify,
    onThread,
    timeout,
    unload,
    order,
    signal,
    migrate,
    probation,
    isBeside,
    drains,
    from,
  } as const;
  const dependencies = new PrivateDependencies(target as SwapTarget, sourceOf);
  const began = process.hrtime.bigint();
  yield* transaction(dependencies.prepareAll(plan as SwapPlan<Definitions>, began));
  target.dependencies = dependencies;
  warnIfUnbound();
  return dependencies;
}
