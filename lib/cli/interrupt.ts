import { constants } from 'node:os';

/**
 * Ends the process at Ctrl-C and at SIGTERM, with the exit code that shells give to that. `busy()` tells whether
 * a native call runs on another thread: exit() would wait for it, so that the signal itself ends the process.
 */
export function endWhenInterrupted(busy: () => boolean = () => false, last = () => {}): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      last();
      if (!busy()) process.exit(128 + constants.signals[signal]);
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    });
  }
}
