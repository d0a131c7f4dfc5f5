import type { Generation } from '../image/generation.js';
import type { RetainReason } from '../image/image-info.js';
import { missingSymbols, SoError, stillLoaded } from '../internal/errors.js';
import { rethrowLater } from '../internal/events.js';
import { native } from '../native/addon.js';
import type { Closing, ExchangeFacts, ExchangeRequest, ImageFacts } from '../native/types.js';
import { announceHookLines } from './hook-lines.js';
import type { SwapTarget } from './target.js';

/** What an exchange did. */
export interface Exchange {
  /** What ran before. */
  readonly previous: Generation | undefined;
  /** Optional symbols that the new image lacks. */
  readonly missing: readonly string[];
  /** The variables whose values the next image took over, and those that it begins anew. */
  readonly kept: readonly string[];
  readonly reset: readonly string[];
  /** Nanoseconds that it held the JavaScript thread. */
  readonly pause: bigint;
}

/** What one handle has in an exchange. */
export interface ExchangePart {
  readonly target: SwapTarget;
  /** What is to run; it is opened now unless its image is open. */
  readonly next: Generation;
  /** Whether the image that runs is closed first. */
  readonly closing: Closing;
  /** Why it is not to be closed, although the order wants it closed first. */
  readonly kept?: readonly RetainReason[] | undefined;
}

/** The exchange of one handle; {@link exchangeAll}. */
export function exchange(target: SwapTarget, next: Generation, closing: Closing): Exchange {
  return exchangeAll([{ target, next, closing }])[0] as Exchange;
}

/**
 * Makes the bound functions of every part run `next`. Whatever fails, the functions of all run `next` or the previous
 * generations, loaded again if need be: the addon closes, opens, commits and restores in one call, which no JavaScript
 * frame is a part of. A library comes after those that it needs.
 *
 * @throws {SoError} Of the library that was refused; `outcome` says what became of its previous generation.
 */
export function exchangeAll(parts: readonly ExchangePart[]): Exchange[] {
  const began = process.hrtime.bigint();
  const all = parts.map(begin);
  const requests: ExchangeRequest[number][] = [];
  for (const { request } of all) requests.push(...request);
  let opened: ImageFacts[] | null = null;
  let stray: unknown;
  for (const { target } of all) target.exchanging = true;
  try {
    opened = native.exchange(...requests);
  } catch (error) {
    stray = error; // nothing was begun, or a constructor's call into JavaScript threw
  }
  // Up to here nothing of this has changed; the next lines call nothing that could fail.
  const committed = opened !== null || all.every(runs);
  if (committed) for (const { target, next } of all) target.current = next;
  try {
    for (const [index, part] of all.entries()) settle(part, opened?.[index]);
    if (!committed) throw failure(all, stray);
    if (stray !== undefined) rethrowLater(stray);
    return all.map(({ previous, facts, target, next }) => {
      next.candidate.opened(next.image);
      target.table.publishAll(facts.absent);
      void next.info; // as long as the image is open
      const missing = [...new Set(facts.absent)];
      const { kept = [], reset = [] } = next.image.facts;
      return { previous, missing, kept, reset, pause: process.hrtime.bigint() - began };
    });
  } finally {
    announceHookLines();
    // Listeners may do anything but swap and close what is in an exchange.
    for (const { target } of all) target.table.references.announce();
    for (const { target } of all) target.exchanging = false;
  }
}

/** A part that has begun. */
interface Begun extends ExchangePart {
  readonly previous: Generation | undefined;
  readonly request: ExchangeRequest;
  /** What it did; at first, what it does where all goes well. */
  facts: ExchangeFacts;
}

function begin(part: ExchangePart): Begun {
  const { target, next, closing } = part;
  const previous = target.current;
  const closes = closing !== 'none' && previous?.image.isOpen === true;
  const toOpen = next.candidate.request(next.number);
  return {
    target,
    next,
    closing,
    kept: part.kept,
    previous,
    request: [target.table.slots, previous?.image.id ?? 0, closing, next.image.id, ...toOpen],
    facts: closes ? plainFacts : plainFactsBeside,
  };
}

function runs({ target, next }: Begun): boolean {
  return target.table.slots.running() === next.image.id;
}

/** Takes over what the addon did. `opened`: all went well, and this is the next image. */
function settle(part: Begun, opened: ImageFacts | undefined): void {
  const { target, next, previous } = part;
  if (opened !== undefined) next.image.facts = opened;
  else part.facts = target.table.slots.lastExchange() ?? part.facts;
  const { closed, restored, leftOver } = part.facts;
  if (previous !== undefined && closed !== null) {
    previous.closed = previous.candidate.closed(previous.image, closed);
  }
  if (restored) previous?.openedAgain();
  if (leftOver !== null) target.source.retained.add(leftOver);
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

/** The error of the part that was refused, the last one that was tried. */
function failure(all: readonly Begun[], stray: unknown): unknown {
  const part = all.find(isRefused) ?? (all[0] as Begun);
  const { facts, kept = [] } = part;
  const cause = causeOf(part.target.path, facts, stray, facts.closed ?? kept);
  const told =
    part.previous === undefined ? (all.find((each) => each.facts.restored) ?? part) : part;
  const { target, previous } = told;
  const running = target.table.slots.running();
  if (previous === undefined || (running === previous.image.id && !told.facts.restored)) {
    return cause;
  }
  const error = SoError.of(cause, `cannot load '${part.target.path}'`, part.target.path);
  if (running === 0) {
    const why = told.facts.restoreFailure?.message ?? 'an earlier swap failed and left no image';
    return error.with(`the previous image could not be loaded again: ${why}`, 'not-loaded');
  }
  const state = told.facts.stateKept ? 'with its static state' : 'and its static state began anew';
  return error.with(`the previous image was loaded again, ${state}`, 'rolled-back');
}

function isRefused({ facts }: Begun): boolean {
  return facts.failure !== null || facts.missing.length > 0;
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
