import { channel } from 'node:diagnostics_channel';
import type { EventEmitter } from 'node:events';
import { SoError } from './errors.js';

const swapChannel = channel('soswap:swap');
const rolledBackChannel = channel('soswap:rolledback');
const unmappedChannel = channel('soswap:unmapped');
const refusedChannel = channel('soswap:refused');

/** Reports a swap that took effect, to the channel and to the listeners of its handle. */
export function emitSwap(handle: EventEmitter, report: object): void {
  swapChannel.publish({ handle, report });
  throwLater(() => handle.emit('swap', report));
}

/** Reports that a retained image was unmapped after all. */
export function emitUnmapped(handle: EventEmitter, image: object): void {
  unmappedChannel.publish({ handle, image });
  throwLater(() => handle.emit('unmapped', image));
}

/** Reports a swap back, of a generation that failed its probation; after {@link emitSwap}. */
export function emitRolledBack(handle: EventEmitter, report: object, cause: unknown): void {
  rolledBackChannel.publish({ handle, report, cause });
  throwLater(() => handle.emit('rolledback', report, cause));
}

/**
 * Reports a swap that failed, to the channel and to the listeners of its handle.
 *
 * @param thrown What made it fail.
 * @returns The error that listeners get: `thrown` if it is a {@link SoError}, else one whose cause it is.
 */
export function emitRefused(handle: EventEmitter & { path: string }, thrown: unknown): SoError {
  const error = SoError.of(thrown, `cannot swap '${handle.path}'`, handle.path);
  refusedChannel.publish({ handle, error });
  throwLater(() => handle.emit('refused', error));
  return error;
}

/** Runs a swap of `handle` and reports how it ends. Throws the error that listeners get. */
export function emitOutcome<Report extends object>(
  handle: EventEmitter & { path: string },
  swap: () => Report,
): Report {
  let report: Report;
  try {
    report = swap();
  } catch (error) {
    throw emitRefused(handle, error);
  }
  emitSwap(handle, report);
  return report;
}

/** The same of a swap that is waited for; `null`: there was nothing to swap. */
export async function emitOutcomeAsync<Report extends object | null>(
  handle: EventEmitter & { path: string },
  swap: () => Promise<Report>,
): Promise<Report> {
  const report = await emitFailure(handle, swap);
  if (report !== null) emitSwap(handle, report);
  return report;
}

/** Runs a part of a swap of `handle`, and reports how it fails. Rejects with the error that listeners get. */
export async function emitFailure<T>(
  handle: EventEmitter & { path: string },
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw rejectionOf(emitRefused(handle, error));
  }
}

/** What a swap rejects with: the error that listeners get, or the reason of its signal if that was aborted. */
export function rejectionOf(error: SoError): unknown {
  return error.code === 'ERR_SOSWAP_ABORTED' ? error.cause : error;
}

/** Emits a process warning for a failed swap that no caller waits for, unless there is a listener or a subscriber. */
export function warnIfUnheard(handle: EventEmitter, error: SoError): void {
  const hasListener = handle.listenerCount('refused') > 0 || refusedChannel.hasSubscribers;
  if (!hasListener) process.emitWarning(error);
}

/**
 * Runs `body`. An error becomes an uncaught exception, as diagnostics_channel does for its subscribers: the error of a
 * listener must not look like a failure of the swap.
 */
export function throwLater(body: () => void): void {
  try {
    body();
  } catch (error) {
    rethrowLater(error);
  }
}

/** Makes `error` an uncaught exception as soon as the JavaScript that runs now has returned. */
export function rethrowLater(error: unknown): void {
  process.nextTick(() => {
    throw error;
  });
}
