import { statSync } from 'node:fs';
import type { Definitions } from '../call/types.js';
import { FileWatch, type FileWatchOptions } from '../files/file-watch.js';
import { onCommit } from '../internal/commits.js';
import { argumentTypeError, isTemporary, SoError } from '../internal/errors.js';
import { flag, type Keys, milliseconds, readOptions } from '../internal/options.js';
import type { SwapOptions } from '../swap/plan.js';
import { DependencyWatches } from './dependency-watches.js';

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

/** What a watch does with its file. */
export interface Watched {
  /** Takes the file that is there, complete; it may be the one that was taken before. */
  take(): Promise<void>;
  /** The file has gone. */
  missing(): void;
  /** Returns the paths of the dependencies of the running image. */
  dependencies(): readonly string[];
  /** It could not be taken. */
  refused(error: SoError): void;
  /** The watch is closed. */
  ended(watch: Watch): void;
}

const watchKeys: Keys<WatchOptions> = { settle: true, persistent: true, poll: true, swap: true };

/**
 * Checks the options of a watch, without those of its swaps.
 *
 * @throws {TypeError | RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`
 */
export function readWatchOptions(options: unknown): FileWatchOptions & { readonly swap: unknown } {
  const { persistent, poll, settle, swap } = readOptions('options', options, watchKeys);
  return {
    persistent: flag('options.persistent', persistent),
    settle: milliseconds('options.settle', settle, 50),
    ...(poll === undefined ? {} : { poll: interval(poll) }),
    swap,
  };
}

function interval(poll: unknown): number | true {
  if (poll === true) return true;
  if (typeof poll !== 'number') throw argumentTypeError('options.poll', 'a number or true', poll);
  return milliseconds('options.poll', poll, 0, 1);
}

/**
 * Takes the file that is there, and each complete replacement of it.
 *
 * @throws {SoError} `ERR_SOSWAP_UNREADABLE`: the permission model of Node.js hides the file from this process for good.
 */
export function watchFile(path: string, options: FileWatchOptions, watched: Watched): Watch {
  assertPermitted(path);
  const dependencies = new DependencyWatches(options, () => files.wake());
  const follow = () => dependencies.follow(watched.dependencies());
  const take = async () => {
    try {
      await watched.take();
    } catch (thrown) {
      const error = SoError.of(thrown, `cannot take '${path}'`, path);
      if (isTemporary(error)) files.retry();
      else if (error.code === 'ERR_SOSWAP_TRUNCATED' && files.retryWhenDone()) return;
      else if (error.code !== 'ERR_SOSWAP_CLOSED') watched.refused(error); // refused until the file changes
    }
  };
  const files = new FileWatch(path, options, take, watched.missing);
  follow();
  files.retry(); // the file may have been replaced since the handle was opened
  const stopListening = onCommit((committed) => {
    if (committed === path) follow();
    else if (dependencies.has(committed)) files.wake();
  });
  const watch = {
    close() {
      stopListening();
      dependencies.follow([]);
      files.close();
      watched.ended(watch);
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
