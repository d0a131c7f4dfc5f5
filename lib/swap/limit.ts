import type { Ending } from '../internal/ending.js';
import { SoError } from '../internal/errors.js';
import { longestTimer } from '../internal/options.js';

/** What ends a wait before that which it waits for. */
export interface Limit {
  /** Milliseconds. */
  readonly timeout: number;
  /** Whose abort ends the wait too. */
  readonly signal?: AbortSignal | undefined;
  /** The end of the handle, which ends the wait too. */
  readonly ending?: Ending | undefined;
}

/** The same for code of a library or of the program: a `timeout` for calls in flight, 0 say, is too short for that. */
export function forCode(limit: Limit): Limit {
  return { ...limit, timeout: Math.max(limit.timeout, 1000) };
}

/** What {@link within} resolves with when the wait has ended first. */
export const expired = Symbol('expired');

/** Waits for `work`, but no longer than the limit; `work` goes on. */
export async function within<T>(
  work: Promise<T>,
  { timeout, signal, ending }: Limit,
): Promise<T | typeof expired> {
  if (signal?.aborted || ending?.hasCome) {
    work.catch(() => {}); // an unhandled rejection would end the process
    return expired;
  }
  let expire = () => {};
  const expiry = new Promise<typeof expired>((resolve) => {
    expire = () => resolve(expired);
  });
  const timer = setTimeout(expire, Math.min(timeout, longestTimer));
  signal?.addEventListener('abort', expire, { once: true });
  const ignore = ending?.listen(expire);
  try {
    return await Promise.race([work, expiry]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', expire);
    ignore?.();
  }
}

/** The error of a swap whose signal was aborted; `undefined` if it was not. Its cause is the reason of the signal. */
export function abortedBy(signal: AbortSignal | undefined, path: string): SoError | undefined {
  if (!signal?.aborted) return undefined;
  const { reason: cause } = signal;
  const message = `cannot swap '${path}': its signal was aborted`;
  return new SoError('ERR_SOSWAP_ABORTED', message, path, undefined, { cause });
}
