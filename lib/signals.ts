import { constants } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import { argumentTypeError, argumentValueError } from './errors.js';
import { openHandles } from './open-handles.js';
import type { SoHandle } from './so-handle.js';

/**
 * Swaps handles when the process gets a signal, as daemons reload on SIGHUP. The swap runs on the event loop, never
 * in the signal handler; signals that arrive while it waits or runs give one more swap after it. What comes
 * of it is told by the events of each handle. Main thread only, as process.on(signal) is.
 *
 * @param signal `SIGHUP`, `SIGUSR2`, …
 * @param handles Default: the handles of this thread that are open when the signal arrives.
 * @returns Disposing of it restores what the signal did before.
 * @throws {Error} `ERR_WORKER_UNSUPPORTED_OPERATION` in a worker thread, which no signal reaches.
 */
export function swapOnSignal(signal: NodeJS.Signals, handles?: Iterable<SoHandle>): Disposable {
  if (typeof signal !== 'string') throw argumentTypeError('signal', 'a string', signal);
  if (!Object.hasOwn(constants.signals, signal)) {
    throw argumentValueError('signal', "must be the name of a signal, like 'SIGHUP'", signal);
  }
  if (!isMainThread) {
    const message = `swapOnSignal('${signal}') works on the main thread only: no signal reaches a worker`;
    throw Object.assign(new Error(message), { code: 'ERR_WORKER_UNSUPPORTED_OPERATION' });
  }
  const chosen = handles === undefined ? undefined : [...handles];
  let pending = false;
  let swapping = false;

  const swapAll = async () => {
    if (swapping) return; // the loop below sees `pending`
    swapping = true;
    while (pending) {
      pending = false;
      const open = [...(chosen ?? openHandles())].filter(({ closed }) => !closed);
      // A refused candidate is the business of the event `refused`.
      await Promise.allSettled(open.map((handle) => handle.swap()));
    }
    swapping = false;
  };
  const mark = () => {
    if (!pending) setImmediate(swapAll);
    pending = true;
  };
  process.on(signal, mark);
  return { [Symbol.dispose]: () => void process.off(signal, mark) };
}
