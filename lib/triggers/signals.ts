import { constants } from 'node:os';
import { openHandles } from '../handle/registry.js';
import type { SoHandle } from '../handle/so-handle.js';
import { argumentTypeError, argumentValueError, SoError } from '../internal/errors.js';
import { warnIfUnheard } from '../internal/events.js';

/**
 * Swaps handles when the process gets a signal, as daemons reload on SIGHUP. The swap runs on the event loop, never
 * in the signal handler; signals that arrive while it waits or runs give one more swap after it. What comes of it is
 * told by the events of each handle; a refusal that nobody listens to is a warning of the process. Main thread only,
 * as process.on(signal) is.
 *
 * @param signal `SIGHUP`, `SIGUSR2`, …
 * @param handles Default: the handles of this thread that are open when the signal arrives.
 * @returns Disposing of it restores what the signal did before.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`: there is no such signal.
 * @throws {Error} `ERR_WORKER_UNSUPPORTED_OPERATION` in a worker thread, which no signal reaches.
 *
 * @example
 * const reload = swapOnSignal('SIGHUP');
 * // … kill -HUP …
 * reload[Symbol.dispose](); // or: using reload = swapOnSignal('SIGHUP');
 */
export function swapOnSignal(signal: NodeJS.Signals, handles?: Iterable<SoHandle>): Disposable {
  if (typeof signal !== 'string') throw argumentTypeError('signal', 'a string', signal);
  if (!Object.hasOwn(constants.signals, signal)) {
    throw argumentValueError('signal', "must be the name of a signal, like 'SIGHUP'", signal);
  }
  if (!process.getBuiltinModule('node:worker_threads').isMainThread) {
    const message = `swapOnSignal('${signal}') works on the main thread only: no signal reaches a worker`;
    throw Object.assign(new Error(message), { code: 'ERR_WORKER_UNSUPPORTED_OPERATION' });
  }
  const chosen = handles === undefined ? undefined : [...handles];
  let pending = false;
  let swapping = false;

  const swapAll = async () => {
    if (swapping) return; // the loop below sees `pending`
    swapping = true;
    try {
      while (pending) {
        pending = false;
        const open = [...(chosen ?? (openHandles() as Iterable<SoHandle>))].filter(
          ({ closed }) => !closed,
        );
        await Promise.all(open.map(swapOne));
      }
    } finally {
      swapping = false;
    }
  };
  const swapOne = async (handle: SoHandle) => {
    try {
      await handle.swap();
    } catch (error) {
      if (!(error instanceof SoError)) throw error;
      if (!handle.closed) warnIfUnheard(handle, error);
    }
  };
  const mark = () => {
    if (!pending) setImmediate(swapAll);
    pending = true;
  };
  process.on(signal, mark);
  return { [Symbol.dispose]: () => void process.off(signal, mark) };
}
