import type { Definitions } from '../call/types.js';
import { type Binding, Candidate } from '../image/candidate.js';
import { Generation } from '../image/generation.js';
import type { Image } from '../image/image.js';
import type { RetainReason } from '../image/image-info.js';
import { assertLoaderFree } from '../image/loading.js';
import { assertMayOpen } from '../image/retained-images.js';
import { sweep } from '../image/sweep.js';
import { announceCommit } from '../internal/commits.js';
import { SoError } from '../internal/errors.js';
import type { Steps } from '../internal/steps.js';
import { type TakeBack, takeBackAll } from '../internal/take-back.js';
import { type Trace, traceOf } from '../internal/trace.js';
import { drain } from './drain.js';
import { type Exchange, type ExchangePart, exchangeAll } from './exchange.js';
import { abortedBy, forCode } from './limit.js';
import { migrateState } from './migrate.js';
import { openBeside } from './open-beside.js';
import type { CommitPlan, SwapPlan } from './plan.js';
import { quarantine } from './quarantine/quarantine.js';
import { type SwapReport, swapReport } from './report.js';
import { type Retirement, retire } from './retire.js';
import type { SwapTarget } from './target.js';
import { endTrial, verify } from './verify.js';

/** A swap that lacks nothing but its commit. */
export interface Prepared {
  readonly target: SwapTarget;
  readonly plan: CommitPlan;
  /** When the swap was asked for, of process.hrtime.bigint(). */
  readonly began: bigint;
  readonly trace: Trace;
  /** What ran when it was prepared; `undefined` before the first image. */
  readonly previous: Generation | undefined;
  /** What is to run. With `open-first` its image is open. */
  readonly next: Generation;
  /** The image of a trial, still open because unmapping it could crash the process. */
  readonly spare: Image | undefined;
  /** Nanoseconds for which opening held the JavaScript thread. */
  readonly opening: bigint;
  /** The handle goes back to an earlier generation. */
  readonly isBack: boolean;
  /** Carries state over; the images are open. */
  readonly migrate: (() => Steps<void>) | undefined;
  readonly takeBack: TakeBack;
}

/** Another swap of the same transaction. */
export type Partner = Pick<Prepared, 'target' | 'plan'>;

/** What a swap has to do with other handles. */
export interface Others {
  /** Those of the same transaction. */
  readonly partners?: readonly Partner[];
  /** How the candidate is bound to their images. */
  readonly binding?: Binding;
  /** What is to run again. Where the plan says so, that is the newest of the earlier generations of the handle. */
  readonly earlier?: Candidate;
}

/** What each handle's swap did. */
export type Reports = ReadonlyMap<SwapTarget, SwapReport>;

/**
 * The whole swap, step by step: of `swap()`, which waits for each step, of `swapSync()`, which runs them in one go, and of
 * `swapAll()`, which has more than one first half. Each step says what takes it back; if one fails, those before it are
 * taken back, the last first. Each step ends: at the latest at the timeout, or when the signal is aborted.
 */
export function* transaction(first: Steps<readonly Prepared[]>): Steps<Reports> {
  return yield* commit(yield* first);
}

/**
 * The first halves of several swaps, one after the other.
 *
 * @param prepares {@link prepare} for each handle; a library comes after those that it needs.
 */
export function* prepareEach(prepares: Iterable<Steps<readonly Prepared[]>>): Steps<Prepared[]> {
  const all: Prepared[] = [];
  try {
    for (const steps of prepares) all.push(...(yield* steps));
    return all;
  } catch (error) {
    for (const { takeBack } of all.reverse()) takeBackAll(takeBack);
    throw error;
  }
}

/**
 * The first half: whatever can be done while nothing changes that a call can see.
 *
 * @param began When the swap was asked for, of process.hrtime.bigint().
 */
export function* prepare<D extends Definitions>(
  target: SwapTarget<D>,
  plan: SwapPlan<D>,
  began: bigint,
  { partners = [], binding, ...others }: Others = {},
): Steps<Prepared> {
  const trace = traceOf(target.path, began);
  const takeBack: TakeBack = [];
  try {
    const previous = target.replaced;
    assertWanted({ target, plan, previous });
    const stays = assertReplaceable(target, plan);
    if (plan.probation !== undefined) target.assertKeepsHistory();

    // Take and inspect: copy the file, refuse what cannot be loaded or bound.
    const needs = requirements(target, plan, stays, partners);
    const earlier =
      others.earlier ?? (plan.from === 'history' ? target.earlier.candidate : undefined);
    const candidate = earlier ?? (yield* Candidate.take(target.source, needs, binding));
    takeBack.push(() => candidate.release());
    if (previous === undefined) assertMayOpen(target.path, candidate.staysMapped(plan.unload));
    trace(earlier === undefined ? 'copied and inspected' : 'taken from the history');
    assertWanted({ target, plan, previous });

    // Quarantine: rehearse the swap in a child process. Leaves nothing behind.
    if (plan.quarantine !== undefined) {
      const { isBeside, unload } = plan;
      const order = isBeside ? 'open-first' : 'close-first';
      const { ending } = target;
      yield* quarantine({ candidate, running: previous, order, unload, ending }, plan.quarantine);
      trace('quarantined');
    }

    // Load and verify beside the running image. Leaves an image only where unmapping it could crash the process.
    assertWanted({ target, plan, previous });
    const { timeout, signal } = plan;
    const limit = forCode({ timeout, signal, ending: target.ending });
    const spare = plan.verify && (yield* verify(candidate, target.definitions, plan.verify, limit));
    if (spare !== undefined) takeBack.push(() => candidate.giveUp(spare));
    if (plan.verify !== undefined) trace('verified');

    // Open beside the running image. Close-first opens only after it has closed.
    const image = candidate.newImage();
    takeBack.push(() => candidate.retire(image));
    const next = new Generation((previous?.number ?? 0) + 1, candidate, image);
    const opening = plan.isBeside ? yield* openBeside(target, next, plan) : 0n;
    assertWanted({ target, plan, previous }); // close() may have come meanwhile
    if (plan.isBeside) trace('opened beside');
    const isBack = earlier !== undefined;
    const call = plan.migrate;
    const migrate =
      call === undefined || previous?.image.isOpen !== true
        ? undefined
        : () => migrateState(target, previous, next, call, limit);
    return {
      target,
      plan,
      began,
      trace,
      previous,
      next,
      spare,
      opening,
      isBack,
      migrate,
      takeBack,
    };
  } catch (error) {
    takeBackAll(takeBack);
    trace(`failed, ${error}`);
    throw stillNotLoaded(target, abortOf({ target, plan }) ?? error);
  }
}

/**
 * The second half, of one swap or of several: all take effect in one go, or none. A library comes after those that it
 * needs. Nothing that a call can see changes before the exchange, which succeeds or restores.
 */
export function* commit(all: readonly Prepared[]): Steps<Reports> {
  let committed = false;
  try {
    // Drain: calls in flight end, new nonblocking calls wait. Open-first lets them go on in the old image.
    for (const { target, takeBack } of all) takeBack.push(() => target.table.release(target));
    yield* drain(all.filter(({ previous }) => previous !== undefined));
    for (const prepared of all) assertWanted(prepared);
    for (const { trace } of all) trace('drained');

    // Migrate: the program carries state over. Takes itself back; what it did to the next image goes with that.
    for (const { migrate, trace } of all) {
      if (migrate === undefined) continue;
      yield* migrate();
      trace('migrated');
    }
    for (const prepared of all) assertWanted(prepared);

    // Close, open and commit, or restore.
    const exchanged = exchangeAll(all.map(exchangePart));
    committed = true;
    for (const { spare, next } of all) if (spare !== undefined) endTrial(spare, next);
    for (const { target } of all) {
      target.committed = true;
      target.table.release(target);
    }
    for (const prepared of all.toReversed()) prepared.target.dropPrepared(prepared);
    for (const { trace, next } of all) trace(`generation ${next.number} committed`);

    // Retire: unmap the old images, release their copies. What a library needs goes after it.
    for (const { target, plan, previous } of all) {
      target.probation?.end();
      target.probation = undefined;
      if (plan.probation !== undefined && previous !== undefined) {
        target.startProbation(plan.probation, plan);
      }
    }
    const dropped = new Map(all.map((prepared) => [prepared, keepHistory(prepared)]));
    const retired = new Map<Prepared, Retirement>();
    for (const prepared of all.toReversed()) {
      const { target, plan, previous, trace } = prepared;
      if (previous === undefined) continue;
      const retirement = yield* retire(target, previous, plan, dropped.get(prepared) ?? []);
      trace(
        retirement.retained.length === 0 ? 'the old image is gone' : 'the old image is retained',
      );
      retired.set(prepared, retirement);
    }
    for (const { target } of all) target.dependencies?.closeUnneeded();
    for (const { target } of all) announceCommit(target.path);
    const reports = new Map<SwapTarget, SwapReport>();
    for (const [prepared, retirement] of [...retired].reverse()) {
      const exchange = exchanged[all.indexOf(prepared)] as Exchange;
      reports.set(prepared.target, reportOf(prepared, exchange, retirement));
    }
    return reports;
  } catch (error) {
    committed ||= all.every(({ target, next }) => target.current === next);
    if (!committed) for (const { takeBack } of all.toReversed()) takeBackAll(takeBack);
    for (const { target } of all) target.probation?.resume();
    for (const { trace } of all) trace(`failed, ${error}`);
    const aborted = committed ? undefined : all.map(abortOf).find((each) => each !== undefined);
    const failed = all.find(({ target }) => target.current?.image.isOpen === false);
    const thrown = aborted ?? error;
    throw failed === undefined ? thrown : stillNotLoaded(failed.target, thrown);
  }
}

/** Refuses a swap whose signal was aborted, whose handle was closed, or that something else runs in meanwhile. */
function assertWanted(swap: Pick<Prepared, 'target' | 'plan' | 'previous'>): void {
  const aborted = abortOf(swap);
  if (aborted !== undefined) throw aborted;
  const { target, previous } = swap;
  if (target.replaced !== previous) throw target.busy('another swap came in between');
}

function abortOf({ target, plan }: Pick<Prepared, 'target' | 'plan'>): SoError | undefined {
  return abortedBy(plan.signal, target.path);
}

function exchangePart({ target, plan, previous, next }: Prepared): ExchangePart {
  if (previous === undefined || plan.isBeside) {
    return { target, next, closing: 'none' };
  }
  const kept = previous.candidate.reasonsToKeep(plan.unload);
  if (kept.length > 0) return { target, next, closing: 'none', kept };
  return { target, next, closing: plan.unload === 'always' ? 'in-any-case' : 'if-unused' };
}

/** Keeps the copy of what ran for {@link SoHandle.rollback}. Returns those that nobody needs any more. */
function keepHistory({ target, previous, isBack }: Prepared): readonly Candidate[] {
  return previous === undefined ? [] : target.keepHistory(previous, isBack);
}

function reportOf(prepared: Prepared, exchanged: Exchange, retired: Retirement): SwapReport {
  const { target, plan, began, next, opening } = prepared;
  return swapReport({
    path: target.path,
    generation: next.number,
    order: plan.order,
    rollback: prepared.isBack,
    previous: (prepared.previous as Generation).info,
    current: next.info,
    unmapped: retired.retained.length === 0,
    retained: retired.retained,
    missing: exchanged.missing,
    kept: exchanged.kept,
    reset: exchanged.reset,
    leftBehind: retired.leftBehind,
    pauseMicroseconds: Number(opening + exchanged.pause + retired.pause) / 1000,
    totalMicroseconds: Number(process.hrtime.bigint() - began) / 1000,
  });
}

/** Returns what was thrown; if an earlier swap left the handle without an image, an error that says so too. */
function stillNotLoaded({ path, current }: SwapTarget, thrown: unknown): unknown {
  if (current?.image.isOpen !== false) return thrown;
  const error = SoError.of(thrown, `cannot swap '${path}'`, path);
  if (error.outcome === 'not-loaded') return error;
  return error.with('an earlier swap had left no image', 'not-loaded');
}

const besideTheRunning: RetainReason = {
  code: 'opened-elsewhere',
  detail: 'the order open-first keeps it open meanwhile',
};

/**
 * Refuses what is sure to fail later, while nothing has changed. Returns whether the running image would stay mapped if
 * it was closed now.
 */
function assertReplaceable<D extends Definitions>(
  { source, replaced, path }: SwapTarget<D>,
  { isBeside, unload }: SwapPlan<D>,
): boolean {
  assertLoaderFree(path);
  sweep(); // makes room
  if (replaced === undefined) return false;
  const { image, candidate } = replaced;
  const inUse = unload === 'auto' ? image.inUse : [];
  const stays = candidate.staysMapped(unload) || inUse.length > 0;
  source.retained.assertRoomFor(image.facts, stays);
  const reasons = [...candidate.reasonsToKeep(unload), ...inUse];
  candidate.mapping.assertReplaceable(
    path,
    image.facts.loaderName,
    isBeside ? [...reasons, besideTheRunning] : reasons,
  );
  return stays;
}

/** What the candidate must provide, and which images are closed before it is first loaded. */
function requirements<D extends Definitions>(
  { table, replaced }: SwapTarget<D>,
  { isBeside: isOpenedBeside, unload, verify }: SwapPlan<D>,
  stays: boolean,
  partners: readonly Partner[],
) {
  const isBeside = isOpenedBeside || verify !== undefined;
  const closing = partners.filter(isClosedFirst).map((partner) => partner.target.running);
  if (!stays && replaced !== undefined) closing.unshift(replaced);
  return {
    table,
    closingImages: isBeside ? [] : closing.map(({ image }) => image.facts.loaderName),
    closesAll: unload === 'always',
  };
}

/** Whether the exchange unmaps the running image before it opens any image. */
function isClosedFirst({ target, plan }: Partner): boolean {
  if (target.current === undefined || plan.isBeside) return false;
  return !target.current.staysMapped(plan.unload);
}
