import type { ImageInfo, RetainReason } from '../image/image-info.js';
import { sweep } from '../image/sweep.js';
import { type Json, withJson } from '../internal/json.js';
import { native } from '../native/addon.js';

/** An image that soswap loaded into this process. */
export interface LoadedImage extends Omit<ImageInfo, 'toJSON'> {
  /** The path of the handle. */
  readonly path: string;
  /** `live`: the handle runs the image. `retained`: the handle gave the image up, but it is still mapped. */
  readonly state: 'live' | 'retained';
  /** The reasons why a retained image is still mapped; empty for a live image. */
  readonly retained: readonly RetainReason[];
  /** The address space of the image in bytes. */
  readonly memorySize: number;
  /**
   * The bytes of memory that the image has for itself beside its copy: pages that the loader has relocated, and static
   * variables that were set. A retained image costs `copySize` and these.
   */
  readonly writtenSize: number;
  /**
   * The bytes of the private copies of earlier generations that the handle keeps for {@link SoHandle.rollback}; 0 for a
   * retained image.
   */
  readonly historySize: number;
  /** The hooks of soswap.h that the library exports: `soswap_load`, say. */
  readonly hooks: readonly string[];
  /** The variables that it keeps with SOSWAP_KEEP. */
  readonly keeps: readonly string[];
  /** The thread id of the handle, as gettid(2) returns it. */
  readonly thread: number;
  /** The number of in-flight calls, including nonblocking calls that wait for a thread of the pool. */
  readonly callsInFlight: number;
  /**
   * The names of the loaded objects that depend on the image; with `scope: 'global'` also of those that are bound to symbols
   * of it, and would go on calling it after a swap.
   */
  readonly neededBy: readonly string[];
  /** Converts the image for JSON.stringify(). 64-bit fields become strings of decimal digits. */
  readonly toJSON: () => Json<Omit<LoadedImage, 'toJSON'>>;
}

/**
 * Lists the live images and the retained images of all threads of the process, oldest first, as lsmod(8) lists modules.
 * Images that `soswap/dl` loaded are not in the list.
 *
 * @returns The images at the time of the call. The list does not change afterwards.
 *
 * @example
 * for (const { path, generation, state } of loaded()) console.log(path, generation, state);
 */
export function loaded(): LoadedImage[] {
  sweep();
  return native
    .loadedImages()
    .map((image) =>
      withJson({ ...image, state: image.retained.length > 0 ? 'retained' : 'live' } as const),
    );
}
