import { constants } from 'node:os';
import { openHandles } from '../handle/registry.js';
import type { SoHandle } from '../handle/so-handle.js';
import { argumentTypeError, argumentValueError, SoError } from '../internal/errors.js';
import { warnIfUnheard } from '../internal/events.js';

/**
 * Swaps handles when the process receives a signal, as daemons reload on SIGHUP. The swaps run on the event loop, not
 * in the signal handler. Signals that arrive during the swaps lead to one more swap of each handle after them. Each
 * handle emits `swap` or `refused`; a refusal without a listener is a warning of the process. Works on the main thread
 * only, as process.on(signal) does.
 *
 * @param signal The name of the signal, for example `SIGHUP` or `SIGUSR2`.
 * @param handles The handles to swap. Defaults to all handles of this thread that are open when the signal arrives.
 * @returns An object whose disposal removes the signal handler.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`: the system has no such signal.
 * @throws {Error} `ERR_WORKER_UNSUPPORTED_OPERATION`: the caller is a worker thread, which receives no signals.
 *
 * @example
 * const reload = swapOnSignal('SIGHUP');
 * // … kill -HUP …
 * reload[Symbol.dispose](); // or: using reload = swapOnSignal('SIGHUP');
 */
export function swapOnSignal(signal: NodeJS.Signals, handles?: Iterable<SoHandle>): Disposable {
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
  const chosen = handles === undefined ? undefined : [...handles];
  let pending = false;
  let swapping = false;

  const swapAllHandles = async () => {
    if (swapping) return; // the loop below sees `pending`
    swapping = true;
    try {
      while (pending) {
        pending = false;
        const open = [...(chosen ?? (openHandles() as Iterable<SoHandle>))].filter(
          ({ closed }) => !closed,
        );
        await Promise.all(open.map(swapHandle));
      }
    } finally {
      swapping = false;
    }
  };
  const swapHandle = async (handle: SoHandle) => {
    try {
      await handle.swap();
    } catch (error) {
      if (!(error instanceof SoError)) throw error;
      if (!handle.closed) warnIfUnheard(handle, error);
    }
  };
  const onSignal = () => {
    if (!pending) setImmediate(swapAllHandles);
    pending = true;
  };
  process.on(signal, onSignal);
  return { [Symbol.dispose]: () => void process.off(signal, onSignal) };
}
