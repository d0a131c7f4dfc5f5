import type { Definitions } from '../call/types.js';
import { Candidate } from '../image/candidate.js';
import { Generation } from '../image/generation.js';
import type { Image } from '../image/image.js';
import type { RetainReason } from '../image/image-info.js';
import { assertLoaderFree } from '../image/loading.js';
import { sweep } from '../image/sweep.js';
import { SoError } from '../internal/errors.js';
import type { Steps } from '../internal/steps.js';
import { traceOf } from '../internal/trace.js';
import { drain } from './drain.js';
import { exchange } from './exchange.js';
import { abortedBy, forCode } from './limit.js';
import { openBeside } from './open-beside.js';
import type { SwapPlan } from './plan.js';
import { quarantine } from './quarantine/quarantine.js';
import { type SwapReport, swapReport } from './report.js';
import { retire } from './retire.js';
import type { SwapTarget } from './target.js';
import { verify } from './verify.js';

/**
 * The whole swap, step by step: of `swap()`, which waits for each step, and of `swapSync()`, which runs them in one go.
 * Each step says what takes it back; if one fails, those before it are taken back, the last first. Nothing that a call
 * can see changes before the exchange, which succeeds or restores. Each step ends: at the latest at the timeout, or when
 * the signal is aborted.
 *
 * @param began When the swap was asked for, of process.hrtime.bigint().
 */
export function* transaction<D extends Definitions>(
  target: SwapTarget<D>,
  plan: SwapPlan<D>,
  began: bigint,
): Steps<SwapReport> {
  const { table, definitions } = target;
  const trace = traceOf(target.path, began);
  const takeBack: (() => void)[] = [];
  let next: Generation | undefined;
  let committed = false;
  const assertWanted = () => {
    if (plan.signal?.aborted) throw abortedBy(plan.signal, target.path);
  };
  try {
    assertWanted();
    assertReplaceable(target, plan);

    // Take and inspect: copy the file, refuse what cannot be loaded or bound.
    const candidate = yield* Candidate.take(target.source, requirements(target, plan));
    takeBack.push(() => candidate.release());
    trace('copied and inspected');
    assertWanted();

    // Quarantine: load it in a child process. Leaves nothing behind.
    if (plan.quarantine !== undefined) {
      yield* quarantine(candidate, plan.quarantine);
      trace('quarantined');
    }

    // Load and verify beside the running image. Leaves an image only where unmapping it could crash the process.
    assertWanted();
    const spare =
      plan.verify && (yield* verify(candidate, definitions, plan.verify, forCode(plan)));
    if (spare !== undefined) takeBack.push(() => candidate.giveUp(spare));
    if (plan.verify !== undefined) trace('verified');

    // Drain: calls in flight end, new nonblocking calls wait. Open-first lets them go on in the old image.
    takeBack.push(() => table.release());
    yield* drain(target, plan);
    trace('drained');

    // Open beside the running image. Close-first opens only after it has closed.
    const image = candidate.newImage();
    takeBack.push(() => candidate.retire(image));
    next = new Generation(target.running.number + 1, candidate, image);
    const opening = plan.order === 'open-first' ? yield* openBeside(target, next, plan) : 0n;

    if (plan.order === 'open-first') trace('opened beside');
    assertWanted();

    // Hooks that need both images have their place here, with open-first.

    // Close, open and commit, or restore.
    const stays = target.running.candidate.reasonsToKeep(plan.unload).length > 0;
    const closing = plan.unload === 'always' ? 'in-any-case' : 'if-unused';
    const exchanged = exchange(
      target,
      next,
      plan.order === 'close-first' && !stays ? closing : 'none',
    );
    committed = true;
    trace(`generation ${next.number} committed, ${plan.order}`);
    if (spare !== undefined) endTrial(spare, next);
    table.release();

    // Retire: unmap the old image, release its copy.
    const previous = exchanged.previous as Generation;
    const retired = yield* retire(target, previous, plan);
    trace(retired.retained.length === 0 ? 'the old image is gone' : 'the old image is retained');
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
    trace(`failed, ${error}`);
    const thrown = committed ? error : (abortedBy(plan.signal, target.path) ?? error);
    throw target.current?.image.isOpen === false ? stillNotLoaded(target, thrown) : thrown;
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

/** Refuses what is sure to fail later, while nothing has changed. */
function assertReplaceable<D extends Definitions>(
  { source, running, path }: SwapTarget<D>,
  { order, unload }: SwapPlan<D>,
): void {
  const { image, candidate } = running;
  assertLoaderFree(path);
  sweep(); // makes room
  const stays = candidate.staysMapped(unload) || (unload === 'auto' && image.inUse.length > 0);
  source.retained.assertRoomFor(
    stays ? { images: 1, bytes: image.facts.memorySize } : { images: 0, bytes: 0 },
  );
  const reasons = candidate.reasonsToKeep(unload);
  const isBeside = order === 'open-first';
  candidate.mapping.assertReplaceable(
    path,
    image.facts.loaderName,
    isBeside ? [...reasons, besideTheRunning] : reasons,
  );
}

/** What the candidate must provide, and which image is closed before it is first loaded. */
function requirements<D extends Definitions>(
  { table, running }: SwapTarget<D>,
  { order, unload, verify }: SwapPlan<D>,
) {
  const { image, candidate } = running;
  const isBeside = order === 'open-first' || verify !== undefined || candidate.staysMapped(unload);
  return { table, closingImage: isBeside ? undefined : image.facts.loaderName };
}
