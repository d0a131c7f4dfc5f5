import { constants } from 'node:os';
import { openHandles } from '../handle/registry.js';
import type { SoHandle } from '../handle/so-handle.js';
import { checkHandles } from '../handle/swap-all.js';
import { argumentTypeError, argumentValueError } from '../internal/errors.js';
import { throwLater, warnIfUnheard } from '../internal/events.js';
import { callback, flag, type Keys, readOptions } from '../internal/options.js';
import { checkSwapOptions, type SwapOptions } from '../swap/plan.js';
import { notifyReloaded, notifyReloading } from './notify.js';
import { type SwapResult, swapChanged } from './swap-changed.js';

/** The options of `swapOnSignal()`. */
export interface SwapOnSignalOptions {
  /** The handles to swap. Defaults to all handles of this thread that are open when the signal arrives. */
  readonly handles?: Iterable<SoHandle>;
  /** The options of each swap. Defaults to those that the handle was opened with. */
  readonly swap?: SwapOptions;
  /**
   * Tells the service manager of each round, for `Type=notify-reload` of systemd.service(5): `RELOADING=1` before it, `READY=1`
   * after it, with what became of the libraries in `STATUS`. Nothing without `$NOTIFY_SOCKET`. Defaults to `false`.
   */
  readonly notify?: boolean;
  /**
   * A function that gets one list with what became of each handle, after the last of them. It may acknowledge the signal. Without
   * it, a refusal that nobody listens to is a warning of the process. Defaults to none.
   */
  readonly onDone?: (results: SwapResult[]) => unknown;
}

const keys: Keys<SwapOnSignalOptions> = {
  handles: true,
  swap: true,
  notify: true,
  onDone: true,
};

/**
 * Swaps what has changed when the process receives a signal, as daemons reload on SIGHUP; {@link swapChanged}. The swaps run
 * on the event loop, not in the signal handler. Signals that arrive during the swaps lead to one more round after them.
 * Works on the main thread only, as process.on(signal) does.
 *
 * @param signal The name of the signal, for example `SIGHUP` or `SIGUSR2`.
 * @param options The options, or only the handles.
 * @returns An object whose disposal removes the signal handler.
 * @throws {TypeError | RangeError} A wrong argument: `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` (also if the system has
 * no such signal), `ERR_OUT_OF_RANGE`.
 * @throws {Error} `ERR_WORKER_UNSUPPORTED_OPERATION`: the caller is a worker thread, which receives no signals.
 *
 * @example
 * const reload = swapOnSignal('SIGHUP', {
 *   swap: { quarantine: true },
 *   onDone: (results) => console.log(results.map(({ handle, status }) => `${handle.path} ${status}`)),
 * });
 * // … kill -HUP …
 * reload[Symbol.dispose](); // or: using reload = swapOnSignal('SIGHUP');
 */
export function swapOnSignal(
  signal: NodeJS.Signals,
  options: SwapOnSignalOptions | Iterable<SoHandle> = {},
): Disposable {
  if (typeof signal !== 'string') throw argumentTypeError('signal', 'a string', signal);
  if (!Object.hasOwn(constants.signals, signal)) {
    throw argumentValueError(
      'signal',
      "must be the name of a signal, for example 'SIGHUP'",
      signal,
    );
  }
  if (!process.getBuiltinModule('node:worker_threads').isMainThread) {
    const message = `swapOnSignal('${signal}') works only on the main thread: a worker receives no signals`;
    throw Object.assign(new Error(message), { code: 'ERR_WORKER_UNSUPPORTED_OPERATION' });
  }
  const given = readOptions('options', isIterable(options) ? { handles: options } : options, keys);
  const onDone = callback<(results: SwapResult[]) => unknown>('options.onDone', given.onDone);
  const notify = flag('options.notify', given.notify);
  const swap = checkSwapOptions('options.swap', given.swap);
  const chosen = given.handles === undefined ? undefined : checkHandles(given.handles);
  let pending = false;
  let swapping = false;

  const swapAllChanged = async () => {
    if (swapping) return; // the loop below sees `pending`
    swapping = true;
    try {
      while (pending) {
        pending = false;
        if (notify) notifyReloading();
        const handles = chosen?.map(([handle]) => handle) ?? (openHandles() as Iterable<SoHandle>);
        const results = await swapChanged(
          [...handles].filter(({ closed }) => !closed),
          swap,
        );
        if (notify) notifyReloaded(results);
        if (onDone === undefined) results.forEach(warnIfRefused);
        else throwLater(() => onDone(results));
      }
    } finally {
      swapping = false;
    }
  };
  const onSignal = () => {
    if (!pending) setImmediate(swapAllChanged);
    pending = true;
  };
  process.on(signal, onSignal);
  return { [Symbol.dispose]: () => void process.off(signal, onSignal) };
}

function isIterable(value: unknown): value is Iterable<SoHandle> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value;
}

function warnIfRefused(result: SwapResult): void {
  if (result.status === 'refused' && !result.handle.closed) {
    warnIfUnheard(result.handle, result.error);
  }
}
