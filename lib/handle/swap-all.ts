import { argumentTypeError, argumentValueError, SoError } from '../internal/errors.js';
import { emitRefused, emitSwap, rejectionOf } from '../internal/events.js';
import { reserveStack } from '../native/stack.js';
import { planSwap, type SwapOptions } from '../swap/plan.js';
import type { SwapReport } from '../swap/report.js';
import type { SwapTarget } from '../swap/target.js';
import { type PlannedSwap, Turns } from '../swap/turns.js';
import { turnsOf } from './registry.js';
import type { SoHandle } from './so-handle.js';

/**
 * Swaps several handles as one: first every file is copied, checked and tried, then all take effect in one go of the
 * JavaScript thread, or none. Each handle emits `swap` or `refused`.
 *
 * @param handles Handles of this thread, each once. A library comes after those that it needs.
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
  handles: Iterable<SoHandle>,
  options: SwapOptions | ((handle: SoHandle) => SwapOptions) = {},
): Promise<SwapReport[]> {
  reserveStack();
  const began = process.hrtime.bigint();
  const all = checkHandles(handles);
  const planned = all.map(([handle, turns]): PlannedSwap => {
    const own = typeof options === 'function' ? options(handle) : options;
    return { turns, plan: planSwap(own, turns.target.defaults, 'swap') };
  });
  const targets = planned.map(({ turns }) => turns.target);
  const signal = planned.find(({ plan }) => plan.signal !== undefined)?.plan.signal;
  const before = targets.map(restoredSoFar);
  try {
    const reports = await Turns.lineUpAll(
      planned.map(({ turns }) => turns),
      () => Turns.swapAll(planned, began),
      signal,
    );
    for (const [index, [handle]] of all.entries()) emitSwap(handle, reports[index] as SwapReport);
    return reports;
  } catch (thrown) {
    const error = SoError.of(thrown, 'cannot swap together', all[0]?.[0].path ?? '');
    for (const [index, [handle, { target }]] of all.entries()) {
      emitRefused(handle, errorOf(target, before[index] as number, error));
    }
    throw rejectionOf(error);
  }
}

/** Checks that `handles` are handles of this thread, each once. */
export function checkHandles(handles: unknown): [SoHandle, Turns][] {
  if (typeof handles !== 'object' || handles === null || !(Symbol.iterator in handles)) {
    throw argumentTypeError('handles', 'an iterable of SoHandle', handles);
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

function restoredSoFar({ current }: SwapTarget): number {
  return current?.restored ?? 0;
}

/** The error of one handle after `error`, which is that of the library that was refused. */
function errorOf(target: SwapTarget, before: number, error: SoError): SoError {
  if (target.path === error.path) return error;
  const message = `cannot swap '${target.path}' together with others: ${error.message}`;
  const { code } = error;
  const together = new SoError(code, message, target.path, undefined, { cause: error });
  if (target.current?.image.isOpen === false) {
    return together.with('its own image could not be loaded again', 'not-loaded');
  }
  if (restoredSoFar(target) === before) return together;
  return together.with('its own image was closed and loaded again', 'rolled-back');
}
