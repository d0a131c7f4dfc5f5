import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/** How long an interrupted process waits for a native call, in milliseconds. */
const patience = 100;

/**
 * Ends the process at Ctrl-C and at SIGTERM, with the exit code that shells give to that.
 *
 * @param underWay What runs on another thread, if anything does: exit() would wait for it, so that, if it takes
 * long, the signal itself ends the process.
 * @param last Is called before.
 */
export function endWhenInterrupted(
  underWay: () => Promise<unknown> | undefined,
  last: () => void = () => {},
): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, async () => {
      last();
      const done = underWay()?.then(
        () => true,
        () => true,
      );
      if ((await Promise.race([done ?? true, sleep(patience, false)])) === true) {
        process.exit(128 + constants.signals[signal]);
      }
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    });
  }
}
