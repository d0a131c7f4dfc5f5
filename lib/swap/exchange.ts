import type { Generation } from '../image/generation.js';
import type { RetainReason } from '../image/image-info.js';
import { missingSymbols, SoError, stillLoaded } from '../internal/errors.js';
import { rethrowLater } from '../internal/events.js';
import type { Closing, ExchangeFacts, ImageFacts } from '../native/types.js';
import type { SwapTarget } from './target.js';

/** What an exchange did. */
export interface Exchange {
  /** What ran before. */
  readonly previous: Generation | undefined;
  /** Optional symbols that the new image lacks. */
  readonly missing: readonly string[];
  /** Nanoseconds that it held the JavaScript thread. */
  readonly pause: bigint;
}

/**
 * Makes every bound function run `next`, which is opened now unless its image is open. `closing` says whether the previous
 * image is closed first. Whatever fails, the functions run `next` or the previous generation, loaded again if need be: the
 * addon closes, opens, commits and restores in one call, which no JavaScript frame is a part of.
 *
 * @param kept Why the previous image was not to be closed, although the order wants it closed first.
 * @throws {SoError} `next` was refused; `outcome` says what became of the previous generation.
 */
export function exchange(
  target: SwapTarget,
  next: Generation,
  closing: Closing,
  kept: readonly RetainReason[] = [],
): Exchange {
  const began = process.hrtime.bigint();
  const { slots } = target.table;
  const { current: previous } = target;
  const closes = closing !== 'none' && previous?.image.isOpen === true;
  const toOpen = next.candidate.request(next.number);
  let opened: ImageFacts | null = null;
  let stray: unknown;
  target.exchanging = true;
  try {
    opened = slots.exchange(previous?.image.id ?? 0, closing, next.image.id, ...toOpen);
  } catch (error) {
    stray = error; // nothing was begun, or a constructor's call into JavaScript threw
  }
  // Up to here nothing of this has changed; the next lines call nothing that could fail.
  const running = opened === null ? slots.running() : next.image.id;
  if (running === next.image.id) target.current = next;
  target.exchanging = false;

  const plain = closes ? plainFacts : plainFactsBeside;
  const facts = opened === null ? (slots.lastExchange() ?? plain) : plain;
  if (previous !== undefined && facts.closed !== null) {
    previous.closed = previous.candidate.closed(previous.image, facts.closed);
  }
  if (running === next.image.id) {
    if (stray !== undefined) rethrowLater(stray);
    if (opened !== null) next.image.facts = opened;
    next.candidate.opened(next.image);
    target.table.publishAll(facts.absent);
    void next.info; // as long as the image is open
    return {
      previous,
      missing: facts.absent,
      pause: process.hrtime.bigint() - began,
    };
  }
  if (facts.restored) previous?.openedAgain();
  if (facts.leftOver !== null) target.source.retained.add(facts.leftOver);
  throw failure(target, running, previous, facts, stray, kept);
}

/** What the addon leaves out where all went well. */
const plainFacts: ExchangeFacts = {
  closed: [],
  absent: [],
  missing: [],
  failure: null,
  leftOver: null,
  restored: false,
  stateKept: false,
  restoreFailure: null,
};

/** The same where the previous image is not closed, or there was none. */
const plainFactsBeside: ExchangeFacts = { ...plainFacts, closed: null };

function failure(
  { path }: SwapTarget,
  running: number,
  previous: Generation | undefined,
  facts: ExchangeFacts,
  stray: unknown,
  kept: readonly RetainReason[],
): unknown {
  const cause = causeOf(path, facts, stray, facts.closed ?? kept);
  if (previous === undefined || (running === previous.image.id && !facts.restored)) return cause;
  const error = SoError.of(cause, `cannot load '${path}'`, path);
  if (running === 0) {
    const why = facts.restoreFailure?.message ?? 'an earlier swap failed and left no image';
    return error.with(`the previous image could not be loaded again: ${why}`, 'not-loaded');
  }
  const state = facts.stateKept ? 'with its static state' : 'and its static state began anew';
  return error.with(`the previous image was loaded again, ${state}`, 'rolled-back');
}

/** @param stayed Why the previous image, which was to be closed first, was still mapped. */
function causeOf(
  path: string,
  { missing, failure }: ExchangeFacts,
  stray: unknown,
  stayed: readonly RetainReason[],
): unknown {
  if (missing.length > 0) return missingSymbols(path, missing);
  const cause = failure ?? stray;
  if (!(cause instanceof SoError) || stayed.length === 0) return cause;
  if (cause.code === 'ERR_SOSWAP_STILL_LOADED') return stillLoaded(path, stayed);
  const why = stayed.map(({ detail }) => detail).join('; ');
  return cause.with(
    `the old image had stayed mapped, and its destructors had not run: ${why}`,
    'unchanged',
  );
}
