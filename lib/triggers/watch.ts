import { statSync } from 'node:fs';
import type { Definitions } from '../call/types.js';
import { FileWatch, type FileWatchOptions } from '../files/file-watch.js';
import { argumentTypeError, isTemporary, SoError } from '../internal/errors.js';
import { checkOptions, flag, milliseconds } from '../internal/options.js';
import type { SwapOptions } from '../swap/plan.js';
import type { SwapReport } from '../swap/report.js';

/**
 * The options of {@link SoHandle.watch}. The kernel reports the changes that are made on this machine. `poll` finds the
 * others: on a network file system, in a directory that a virtual machine shares with its host, and where a file system is
 * mounted over the file or over a directory of its path.
 */
export interface WatchOptions<D extends Definitions = Definitions> extends FileWatchOptions {
  /** The options of each swap. Defaults to those of {@link SoHandle.swap}. */
  readonly swap?: SwapOptions<D>;
}

/** A watch of a file. It lasts until it or its handle is closed. */
export interface Watch extends Disposable {
  /**
   * Ends the watch, as `using` does at the end of the block. A swap that has started continues. A second call has no
   * effect.
   *
   * @example
   * const watch = price.watch();
   * // …
   * watch.close();
   */
  close(): void;
}

/** The part of a handle that a watch uses. */
export interface Watched {
  /**
   * Swaps without an event. Resolves with `undefined` if the file is still the current one when the swap would begin.
   */
  swapIfReplaced(): Promise<SwapReport | undefined>;
  /** Emits the event of a swap. */
  swapped(report: SwapReport): void;
  /** Emits the event of a refusal. */
  refused(error: SoError): void;
  /** Removes the closed watch from the handle. */
  ended(watch: Watch): void;
}

/**
 * Checks the options of a watch, without those of its swaps.
 *
 * @throws {TypeError | RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 */
export function checkWatchOptions(options: FileWatchOptions): FileWatchOptions {
  checkOptions(options);
  const { persistent, poll, settle } = options;
  return {
    persistent: flag('options.persistent', persistent),
    settle: milliseconds('options.settle', settle, 50),
    ...(poll === undefined ? {} : { poll: interval(poll) }),
  };
}

function interval(poll: unknown): number | true {
  if (poll === true) return true;
  if (typeof poll !== 'number') throw argumentTypeError('options.poll', 'a number or true', poll);
  return milliseconds('options.poll', poll, 0, 1);
}

/**
 * Swaps after each complete replacement of the file.
 *
 * @throws {SoError} `ERR_SOSWAP_UNREADABLE`: the permission model of Node.js hides the file from this process for good.
 */
export function watchFile(path: string, options: FileWatchOptions, handle: Watched): Watch {
  assertPermitted(path);
  const files = new FileWatch(path, options, async () => {
    try {
      const report = await handle.swapIfReplaced();
      if (report !== undefined) handle.swapped(report);
    } catch (thrown) {
      const error = SoError.of(thrown, `cannot swap '${path}'`, path);
      if (isTemporary(error)) files.retry();
      else if (error.code === 'ERR_SOSWAP_TRUNCATED' && files.retryWhenDone()) return;
      else if (error.code !== 'ERR_SOSWAP_CLOSED') handle.refused(error); // refused until the file changes
    }
  });
  files.retry(); // the file may have been replaced since the handle was opened
  const watch = {
    close() {
      files.close();
      handle.ended(watch);
    },
    [Symbol.dispose]: () => watch.close(),
  };
  return watch;
}

function assertPermitted(path: string): void {
  try {
    statSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_ACCESS_DENIED') return; // it may change
    const message = `cannot watch '${path}': Node.js needs the permission --allow-fs-read for it`;
    throw new SoError('ERR_SOSWAP_UNREADABLE', message, path, undefined, { cause });
  }
}
