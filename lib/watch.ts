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
  /** A swap that no event tells of. */
  swap(): Promise<SwapReport>;
  told(report: SwapReport): void;
  refused(error: unknown): void;
}

/** Swaps whenever the file has been replaced and is complete. */
export function watchFile(handle: Watched, options: FileWatchOptions): Watch {
  const attempt = async () => {
    try {
      if (handle.status() !== 'current') handle.told(await handle.swap());
    } catch (error) {
      if (isPassing(error)) files.again();
      else handle.refused(error); // and only another file can change that
    }
  };
  const files = new FileWatch(handle.path, options, () => void attempt());
  const close = () => files.close();
  return { close, [Symbol.dispose]: close };
}

/** Waiting helps: somebody is writing the file, or calls take longer than they should. */
function isPassing(error: unknown): boolean {
  const passing = ['ERR_SOSWAP_BEING_WRITTEN', 'ERR_SOSWAP_BUSY', 'ERR_SOSWAP_NOT_FOUND'];
  return error instanceof SoError && passing.includes(error.code);
}
