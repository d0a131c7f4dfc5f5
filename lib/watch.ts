import { SoError } from './errors.js';
import { FileWatch, type FileWatchOptions } from './file-watch.js';
import type { SwapReport } from './report.js';
import type { Definitions } from './signature.js';
import type { FileStatus } from './so-handle.js';
import type { SwapOptions } from './swap-options.js';

/** How {@link SoHandle.watch} goes about it. */
export interface WatchOptions<D extends Definitions = Definitions> extends FileWatchOptions {
  /** The options of each swap. */
  readonly swap?: SwapOptions<D>;
}

/** A watch that goes on until it is closed, or its handle is. */
export interface Watch extends Disposable {
  close(): void;
}

/** What a watch needs of its handle. */
export interface Watched {
  readonly path: string;
  status(): FileStatus;
  /** Resolves when no swap is under way that somebody else asked for. */
  idle(): Promise<void>;
  /** A swap that no event tells of. */
  swap(): Promise<SwapReport>;
  told(report: SwapReport): void;
  refused(error: SoError): void;
  /** The watch was closed. */
  ended(watch: Watch): void;
}

/** Swaps whenever the file has been replaced and is complete. */
export function watchFile(handle: Watched, options: FileWatchOptions): Watch {
  let wanted = false;
  let swapping = false;

  const attempt = async () => {
    let report: SwapReport;
    try {
      await handle.idle(); // it may be about to take this very file
      if (handle.status() === 'current') return;
      report = await handle.swap();
    } catch (error) {
      if (!(error instanceof SoError)) throw error;
      if (error.code === 'ERR_SOSWAP_CLOSED') return;
      if (isPassing(error)) files.again();
      else handle.refused(error); // and only another file can change that
      return;
    }
    handle.told(report);
  };
  // One after the other: what changes during a swap may be in it already.
  const settled = async () => {
    wanted = true;
    if (swapping) return;
    swapping = true;
    try {
      while (wanted) {
        wanted = false;
        await attempt();
      }
    } finally {
      swapping = false;
    }
  };
  // What listeners throw ends as an unhandled rejection, as it would from any other event.
  const files = new FileWatch(handle.path, options, () => void settled());
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
