import type { Definitions } from '../call/types.js';
import { Candidate } from '../image/candidate.js';
import { Generation } from '../image/generation.js';
import type { Image } from '../image/image.js';
import type { RetainReason } from '../image/image-info.js';
import { sweep } from '../image/sweep.js';
import { SoError } from '../internal/errors.js';
import { type Steps, step } from '../internal/steps.js';
import { drain } from './drain.js';
import { exchange } from './exchange.js';
import type { SwapPlan } from './plan.js';
import { quarantine } from './quarantine/quarantine.js';
import { type SwapReport, swapReport } from './report.js';
import { retire } from './retire.js';
import type { SwapTarget } from './target.js';
import { verify } from './verify.js';

/**
 * The whole swap, step by step: of `swap()`, which waits for each step, and of `swapSync()`, which runs them in one go.
 * Each step says what takes it back; if one fails, those before it are taken back, the last first. Nothing that a call
 * can see changes before the exchange, which succeeds or restores.
 *
 * @param began When the swap was asked for, of process.hrtime.bigint().
 */
export function* transaction<D extends Definitions>(
  target: SwapTarget<D>,
  plan: SwapPlan<D>,
  began: bigint,
): Steps<SwapReport> {
  const { table, definitions } = target;
  const takeBack: (() => void)[] = [];
  let next: Generation | undefined;
  let committed = false;
  try {
    const stays = assertReplaceable(target, plan);

    // Take and inspect: copy the file, refuse what cannot be loaded or bound.
    const candidate = yield* Candidate.take(target.source, requirements(target, plan, stays));
    takeBack.push(() => candidate.release());

    // Quarantine: load it in a child process. Leaves nothing behind.
    if (plan.quarantine !== undefined) yield* quarantine(candidate, plan.quarantine);

    // Load and verify beside the running image. Leaves an image only where unmapping it could crash the process.
    const spare = plan.verify && (yield* verify(candidate, definitions, plan.verify));
    if (spare !== undefined) takeBack.push(() => candidate.giveUp(spare));

    // Drain: calls in flight end, new nonblocking calls wait. Open-first lets them go on in the old image.
    takeBack.push(() => table.release());
    yield* drain(target, plan);

    // Open beside the running image. Close-first opens only after it has closed.
    const image = candidate.newImage();
    takeBack.push(() => candidate.retire(image));
    next = new Generation(target.running.number + 1, candidate, image);
    const opening = plan.order === 'open-first' ? yield* openBeside(target, next, plan) : 0n;

    // Hooks that need both images have their place here, with open-first.

    // Close, open and commit, or restore.
    const kept = target.running.candidate.reasonsToKeep(plan.unload);
    const closing = plan.unload === 'always' ? 'in-any-case' : 'if-unused';
    const exchanged =
      plan.order === 'close-first' && kept.length === 0
        ? exchange(target, next, closing)
        : exchange(target, next, 'none', plan.order === 'close-first' ? kept : []);
    committed = true;
    if (spare !== undefined) endTrial(spare, next);
    table.release();

    // Retire: unmap the old image, release its copy.
    const previous = exchanged.previous as Generation;
    const retired = yield* retire(target, previous, plan.unload, plan.onThread);
    return swapReport({
      path: target.path,
      generation: next.number,
      order: plan.order,
      previous: previous.info,
      current: next.info,
      unmapped: retired.retained.length === 0,
      retained: retired.retained,
      missing: exchanged.missing,
      pauseMicroseconds: Number(opening + exchanged.pause + retired.pause) / 1000,
      totalMicroseconds: Number(process.hrtime.bigint() - began) / 1000,
    });
  } catch (error) {
    committed ||= next !== undefined && target.current === next;
    if (!committed) for (const undo of takeBack.reverse()) attempt(undo);
    throw target.current?.image.isOpen === false ? stillNotLoaded(target, error) : error;
  }
}

/** An earlier swap left the handle without an image, and this one could not mend it. */
function stillNotLoaded({ path }: { path: string }, thrown: unknown): SoError {
  const error = SoError.of(thrown, `cannot swap '${path}'`, path);
  if (error.outcome === 'not-loaded') return error;
  return error.with('an earlier swap had left no image', 'not-loaded');
}

/** Gives up the image of a trial that may not be unmapped. The loader has returned the same image for `next`, or not. */
function endTrial(spare: Image, { candidate, image }: Generation): void {
  if (spare.facts.loaderName === image.facts.loaderName) spare.close(false);
  else candidate.giveUp(spare);
}

/** Whatever one of them throws, the others run too, and the swap throws what made it fail. */
function attempt(undo: () => void): void {
  try {
    undo();
  } catch {}
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
  { source, running, path }: SwapTarget<D>,
  { order, unload }: SwapPlan<D>,
): boolean {
  const { image, candidate } = running;
  sweep(); // makes room
  const inUse = unload === 'auto' ? image.inUse : [];
  const stays = candidate.staysMapped(unload) || inUse.length > 0;
  source.retained.assertRoomFor(
    stays ? { images: 1, bytes: image.facts.memorySize } : { images: 0, bytes: 0 },
  );
  const reasons = [...candidate.reasonsToKeep(unload), ...inUse];
  const isBeside = order === 'open-first';
  candidate.mapping.assertReplaceable(
    path,
    image.facts.loaderName,
    isBeside ? [...reasons, besideTheRunning] : reasons,
  );
  return stays;
}

/** What the candidate must provide, and which image is closed before it is first loaded. */
function requirements<D extends Definitions>(
  { table, running }: SwapTarget<D>,
  { order, unload, verify }: SwapPlan<D>,
  stays: boolean,
) {
  const isBeside = order === 'open-first' || verify !== undefined || stays;
  return {
    table,
    closingImage: isBeside ? undefined : running.image.facts.loaderName,
    closesAll: unload === 'always',
  };
}

/** Returns the nanoseconds that it held the JavaScript thread. */
function* openBeside<D extends Definitions>(
  target: SwapTarget<D>,
  { number, candidate, image }: Generation,
  { onThread }: SwapPlan<D>,
): Steps<bigint> {
  const here = () => {
    const began = process.hrtime.bigint();
    candidate.open(image, number);
    return process.hrtime.bigint() - began;
  };
  const there = async () => {
    await candidate.openAsync(image, number, target.table);
    return 0n;
  };
  return yield* step(here, onThread ? there : async () => here());
}
