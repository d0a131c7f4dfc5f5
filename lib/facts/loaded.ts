import type { ImageInfo, RetainReason } from '../image/image-info.js';
import { type Json, withJson } from '../internal/json.js';
import { native } from '../native/addon.js';

/** One image that soswap has loaded into this process. */
export interface LoadedImage extends Omit<ImageInfo, 'toJSON'> {
  /** The path of its handle. */
  readonly path: string;
  /** `live`: its handle runs it. `retained`: given up by its handle, but still mapped. */
  readonly state: 'live' | 'retained';
  /** Why a retained image is still mapped; empty for a live one. */
  readonly retained: readonly RetainReason[];
  /** Bytes of address space that it takes. */
  readonly memorySize: number;
  /** The thread whose handle it is, as gettid(2) numbers it. */
  readonly thread: number;
  /** Calls that run in it now or wait for a thread of the pool. */
  readonly callsInFlight: number;
  /** The names of the loaded objects that have it among their dependencies. */
  readonly neededBy: readonly string[];
  /** Called by JSON.stringify(): 64-bit fields become strings of decimal digits. */
  toJSON(): Json<Omit<LoadedImage, 'toJSON'>>;
}

/**
 * Every live image of the process and every retained one that is still there, of all threads, oldest first; as
 * lsmod(8) lists modules. Images of `soswap/dl` are not among them.
 *
 * @returns A list of this moment.
 *
 * @example
 * for (const { path, generation, state } of loaded()) console.log(path, generation, state);
 */
export function loaded(): LoadedImage[] {
  return native
    .loadedImages()
    .map((image) =>
      withJson({ ...image, state: image.retained.length > 0 ? 'retained' : 'live' } as const),
    );
}
