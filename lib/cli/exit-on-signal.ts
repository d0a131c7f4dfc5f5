import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Ends the process on SIGINT, SIGTERM and the signals in `more`, with the exit code that a shell reports for the signal. A
 * second signal ends the process at once.
 *
 * @param stop Called first. The process waits for its promise.
 * @param timeout Milliseconds to wait. After that the signal itself ends the process, because exit() could hang.
 */
export function exitOnSignal(
  stop: () => Promise<unknown> | undefined,
  timeout: number,
  more: readonly NodeJS.Signals[] = [],
): void {
  for (const signal of ['SIGINT', 'SIGTERM', ...more] as const) {
    process.once(signal, async () => {
      const stopped = stop()?.then(
        () => true,
        () => true,
      );
      if ((await Promise.race([stopped ?? true, sleep(timeout, false)])) === true) {
        process.exit(128 + constants.signals[signal]);
      }
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    });
  }
}
