import { SoError } from './errors.js';
import { FileWatch, type FileWatchOptions } from './file-watch.js';
import { checkOptions, milliseconds } from './options.js';
import type { Definitions } from './signature.js';
import type { SoHandle } from './so-handle.js';
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

/**
 * Swaps `handle` whenever its file has been replaced and is complete. What comes of it is told by the events of
 * the handle.
 */
export function watchHandle<D extends Definitions>(
  handle: SoHandle<D>,
  options: WatchOptions<D>,
): Watch {
  checkOptions(options);
  const { swap = {}, persistent = false } = options;
  const settle = milliseconds('options.settle', options.settle, 50);

  const attempt = async () => {
    try {
      if (handle.status() !== 'current') await handle.swap(swap);
    } catch (error) {
      if (isPassing(error)) files.again();
      // Anything else was told by the event `refused`; only another file can change it.
    }
  };
  const files = new FileWatch(handle.path, { settle, persistent }, () => void attempt());
  const close = () => files.close();
  return { close, [Symbol.dispose]: close };
}

/** Waiting helps: somebody is writing the file, or calls take longer than they should. */
function isPassing(error: unknown): boolean {
  const passing = ['ERR_SOSWAP_BEING_WRITTEN', 'ERR_SOSWAP_BUSY', 'ERR_SOSWAP_NOT_FOUND'];
  return error instanceof SoError && passing.includes(error.code);
}
