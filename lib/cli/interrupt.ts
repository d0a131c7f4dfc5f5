import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Ends the process at Ctrl-C, at SIGTERM and at `more` signals, with the exit code that shells give to that. A second
 * signal ends it whatever it is doing.
 *
 * @param end Called first; what it resolves with is waited for.
 * @param patience How long, in milliseconds. After that the signal itself ends the process, because exit() could hang.
 */
export function endWhenInterrupted(
  end: () => Promise<unknown> | undefined,
  patience: number,
  more: readonly NodeJS.Signals[] = [],
): void {
  for (const signal of ['SIGINT', 'SIGTERM', ...more] as const) {
    process.once(signal, async () => {
      const ended = end()?.then(
        () => true,
        () => true,
      );
      if ((await Promise.race([ended ?? true, sleep(patience, false)])) === true) {
        process.exit(128 + constants.signals[signal]);
      }
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    });
  }
}
