import { argumentTypeError, argumentValueError } from '../internal/errors.js';
import { rejectionOf } from '../internal/events.js';
import { reserveStack } from '../native/stack.js';
import { planSwap, type SwapOptions } from '../swap/plan.js';
import type { SwapReport } from '../swap/report.js';
import { Outcome } from '../swap/together.js';
import type { Reports } from '../swap/transaction.js';
import { type PlannedSwap, Turns } from '../swap/turns.js';
import { turnsOf } from './registry.js';
import type { SoHandle } from './so-handle.js';

/**
 * Swaps several handles as one: first every file is copied, checked and tried, then all take effect in one go of the
 * JavaScript thread, or none. Each handle emits `swap` or `refused`.
 *
 * @param handles Handles of this thread, each once, or a group. A library comes after those that it needs; members of a
 * group are put in that order, and those that are bound to one of them are swapped too.
 * @param options The options of each swap, or a function that returns those of one handle.
 * @returns What each swap did, in the order of `handles`. Rejects as {@link SoHandle.swap}, with the error of the library
 * that was refused: `path` names it. The others are as they were; with `close-first`, a handle whose image was closed
 * already runs it again, loaded anew, and the error that it emits says so.
 * @throws {TypeError | RangeError} A wrong argument: `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`.
 *
 * @example
 * const zlib = SoHandle.open('libz.so.1', { zlibVersion: { return: 'string' } });
 * const reports = await swapAll([zlib, price], { order: 'open-first' });
 * console.log(reports.map(({ generation }) => generation)); // [ 2, 2 ]
 */
export async function swapAll(
  handles: Iterable<SoHandle> | { readonly members: Iterable<SoHandle> },
  options: SwapOptions | ((handle: SoHandle) => SwapOptions) = {},
): Promise<SwapReport[]> {
  reserveStack();
  const began = process.hrtime.bigint();
  const all = checkHandles(handles);
  const planned = all.map(([handle, turns]): PlannedSwap => {
    const own = typeof options === 'function' ? options(handle) : options;
    return { turns, plan: planSwap(own, turns.target.defaults, 'swap') };
  });
  const signal = planned.find(({ plan }) => plan.signal !== undefined)?.plan.signal;
  const outcome = new Outcome(all.map(([handle, { target }]) => ({ handle, target })));
  let reports: Reports;
  try {
    reports = await Turns.lineUpAll(
      planned.map(({ turns }) => turns),
      () => Turns.swapAll(planned, began),
      signal,
    );
  } catch (thrown) {
    throw rejectionOf(outcome.refused(thrown));
  }
  outcome.swapped(reports);
  return all.map(([, { target }]) => reports.get(target) as SwapReport);
}

/** Checks that these are handles of this thread, each once, or a group of them. */
export function checkHandles(given: unknown): [SoHandle, Turns][] {
  const isGroup = typeof given === 'object' && given !== null && 'members' in given;
  const handles = isGroup ? given.members : given;
  if (typeof handles !== 'object' || handles === null || !(Symbol.iterator in handles)) {
    throw argumentTypeError('handles', 'a SoGroup or an iterable of SoHandle', handles);
  }
  const all = [...(handles as Iterable<unknown>)].map((handle, index): [SoHandle, Turns] => {
    const turns = typeof handle === 'object' && handle !== null ? turnsOf(handle) : undefined;
    if (turns === undefined) throw argumentTypeError(`handles[${index}]`, 'a SoHandle', handle);
    return [handle as SoHandle, turns];
  });
  if (new Set(all.map(([handle]) => handle)).size < all.length) {
    throw argumentValueError('handles', 'must have each handle once', handles);
  }
  return all;
}
