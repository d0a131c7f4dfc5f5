import type { Definitions } from '../call/types.js';
import { FileWatch, type FileWatchOptions } from '../files/file-watch.js';
import { SoError } from '../internal/errors.js';
import { checkOptions, flag, milliseconds } from '../internal/options.js';
import type { SwapOptions } from '../swap/plan.js';
import type { SwapReport } from '../swap/report.js';

/** The options of {@link SoHandle.watch}. */
export interface WatchOptions<D extends Definitions = Definitions> extends FileWatchOptions {
  /** The options of each swap. Defaults to those of {@link SoHandle.swap}. */
  readonly swap?: SwapOptions<D>;
}

/** A watch that goes on until it is closed, or its handle is. */
export interface Watch extends Disposable {
  /**
   * Ends the watch, as `using` does at the end of the block. A swap that is under way goes on. Closing again does nothing.
   *
   * @example
   * const watch = price.watch();
   * // …
   * watch.close();
   */
  close(): void;
}

/** What a watch asks its handle to do. */
export interface Watched {
  /** Swaps, and emits no event; not at all if the file is the current one when its turn has come. */
  swapIfReplaced(): Promise<SwapReport | undefined>;
  swapped(report: SwapReport): void;
  refused(error: SoError): void;
  /** The watch was closed. */
  ended(watch: Watch): void;
}

/** Checks the options of a watch, but for those of its swaps. */
export function checkWatchOptions(options: FileWatchOptions): Required<FileWatchOptions> {
  checkOptions(options);
  return {
    persistent: flag('options.persistent', options.persistent),
    settle: milliseconds('options.settle', options.settle, 50),
  };
}

/** Swaps whenever the file has been replaced and is complete. */
export function watchFile(path: string, options: FileWatchOptions, handle: Watched): Watch {
  const files = new FileWatch(path, options, async () => {
    try {
      const report = await handle.swapIfReplaced();
      if (report !== undefined) handle.swapped(report);
    } catch (thrown) {
      const error = SoError.of(thrown, `cannot swap '${path}'`, path);
      if (isPassing(error)) files.retry();
      else if (error.code !== 'ERR_SOSWAP_CLOSED') handle.refused(error); // only another file can change that
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

/** Waiting helps: somebody is writing the file, or calls take longer than they should. */
function isPassing({ code }: SoError): boolean {
  const passing = ['ERR_SOSWAP_BEING_WRITTEN', 'ERR_SOSWAP_BUSY', 'ERR_SOSWAP_NOT_FOUND'];
  return passing.includes(code);
}
