import { SoError } from '../internal/errors.js';
import { native } from '../native/addon.js';
import type { ImageFacts } from '../native/types.js';
import type { ImageInfo } from './image-info.js';
import { sweepWhile } from './sweep.js';

/** How many retained images there may be. */
export interface RetainedLimit {
  readonly images: number;
  /** Of address space. */
  readonly bytes: number;
}

/** The limit where the program names none. */
export const defaultRetainedLimit: RetainedLimit = { images: 1000, bytes: 2 ** 30 };

/** The retained images of one handle: given up, but still mapped. */
export class RetainedImages {
  readonly #path: string;
  readonly #limit: RetainedLimit;
  /** By the loader's name. */
  readonly #images = new Map<string, { readonly bytes: number; info?: ImageInfo | undefined }>();
  #bytes = 0;
  /** Called for each image that goes after all. */
  onUnmapped: ((info: ImageInfo) => void) | undefined;

  constructor(path: string, limit: RetainedLimit = defaultRetainedLimit) {
    this.#path = path;
    this.#limit = limit;
  }

  add({ loaderName, memorySize }: ImageFacts): void {
    if (this.#images.has(loaderName)) return;
    this.#images.set(loaderName, { bytes: memorySize });
    this.#bytes += memorySize;
    sweepWhile(this);
  }

  /** Says which image it is; `undefined` if that is not known. */
  describe(loaderName: string, info: ImageInfo | undefined): void {
    const image = this.#images.get(loaderName);
    if (image !== undefined) image.info = info;
  }

  /** The loader has returned it again for a new image. */
  remove({ loaderName }: ImageFacts): void {
    this.#bytes -= this.#images.get(loaderName)?.bytes ?? 0;
    this.#images.delete(loaderName);
  }

  /**
   * @param coming The images, and their bytes, that will be retained next.
   * @throws {SoError} `ERR_SOSWAP_RETAINED_LIMIT`
   */
  assertRoomFor(coming: RetainedLimit): void {
    if (this.#hasRoomFor(coming)) return;
    this.forgetUnmapped();
    if (this.#hasRoomFor(coming)) return;
    throw new SoError(
      'ERR_SOSWAP_RETAINED_LIMIT',
      `cannot swap '${this.#path}': ${this.#images.size} retained image(s) take ${this.#bytes} bytes, and the running ` +
        `image would be retained too; options.maxRetained allows ${this.#limit.images} image(s) and ${this.#limit.bytes} bytes`,
      this.#path,
    );
  }

  #hasRoomFor({ images, bytes }: RetainedLimit): boolean {
    return (
      this.#images.size + images <= this.#limit.images && this.#bytes + bytes <= this.#limit.bytes
    );
  }

  get size(): number {
    return this.#images.size;
  }

  /** A thread that kept an image mapped may have ended since. */
  forgetUnmapped(): void {
    for (const [loaderName, { bytes, info }] of this.#images) {
      if (native.isLoaded(loaderName)) continue;
      this.#images.delete(loaderName);
      this.#bytes -= bytes;
      if (info !== undefined) this.onUnmapped?.(info);
    }
  }
}
