import type { Definitions } from '../call/signature.js';
import { FileWatch, type FileWatchOptions } from '../files/file-watch.js';
import { SoError } from '../internal/errors.js';
import type { SwapOptions } from '../swap/plan.js';
import type { SwapReport } from '../swap/report.js';

/** How {@link SoHandle.watch} goes about it. */
export interface WatchOptions<D extends Definitions = Definitions> extends FileWatchOptions {
  /** The options of each swap. Default: those of {@link SoHandle.swap}. */
  readonly swap?: SwapOptions<D>;
}

/** A watch that goes on until it is closed, or its handle is. */
export interface Watch extends Disposable {
  /**
   * Ends it, as `using` does at the end of the block. A swap that is under way goes on. Once more does nothing.
   *
   * @example
   * const watch = price.watch();
   * // …
   * watch.close();
   */
  close(): void;
}

/** What a watch needs of its handle. */
export interface Watched {
  readonly path: string;
  /** A swap that no event tells of; none if the file is the current one when its turn has come. */
  swapIfReplaced(): Promise<SwapReport | undefined>;
  told(report: SwapReport): void;
  refused(error: SoError): void;
  /** The watch was closed. */
  ended(watch: Watch): void;
}

/** Swaps whenever the file has been replaced and is complete. */
export function watchFile(handle: Watched, options: FileWatchOptions): Watch {
  const files = new FileWatch(handle.path, options, async () => {
    try {
      const report = await handle.swapIfReplaced();
      if (report !== undefined) handle.told(report);
    } catch (error) {
      if (!(error instanceof SoError)) throw error;
      if (isPassing(error)) files.again();
      else if (error.code !== 'ERR_SOSWAP_CLOSED') handle.refused(error); // and only another file can change that
    }
  });
  files.again(); // it may have been replaced since it was opened
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
