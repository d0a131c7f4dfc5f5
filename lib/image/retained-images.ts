import { argumentTypeError, SoError } from '../internal/errors.js';
import { checkOptions } from '../internal/options.js';
import { native } from '../native/addon.js';
import type { Image } from './image.js';

/** How many old images may stay mapped. */
export interface RetainedLimit {
  readonly images: number;
  readonly bytes: number;
}

const defaultLimit: RetainedLimit = { images: 1000, bytes: 2 ** 30 };

export function retainedLimit(options: unknown): RetainedLimit {
  if (options === undefined) return defaultLimit;
  checkOptions(options);
  const limit = { ...defaultLimit, ...(options as Partial<RetainedLimit>) };
  for (const key of ['images', 'bytes'] as const) {
    if (typeof limit[key] !== 'number' || !(limit[key] >= 0)) {
      throw argumentTypeError(`options.maxRetained.${key}`, 'a number, 0 or more', limit[key]);
    }
  }
  return limit;
}

/** The old images of one handle that are still mapped. */
export class RetainedImages {
  readonly #path: string;
  readonly #limit: RetainedLimit;
  /** Bytes of address space by the loader's name. */
  readonly #images = new Map<string, number>();
  #bytes = 0;

  constructor(path: string, limit: RetainedLimit = defaultLimit) {
    this.#path = path;
    this.#limit = limit;
  }

  add({ loaderName, memorySize }: Image): void {
    if (this.#images.has(loaderName)) return;
    this.#images.set(loaderName, memorySize);
    this.#bytes += memorySize;
  }

  /** The loader has given it out again. */
  remove({ loaderName }: Image): void {
    this.#bytes -= this.#images.get(loaderName) ?? 0;
    this.#images.delete(loaderName);
  }

  /**
   * @param coming How many images, and bytes of them, will come.
   * @throws {SoError} `ERR_SOSWAP_RETAINED_LIMIT`
   */
  assertRoomFor(coming: RetainedLimit): void {
    if (this.#hasRoomFor(coming)) return;
    this.#forgetUnmapped();
    if (this.#hasRoomFor(coming)) return;
    throw new SoError(
      'ERR_SOSWAP_RETAINED_LIMIT',
      `cannot swap '${this.#path}': ${this.#images.size} old image(s) of ${this.#bytes} bytes stay ` +
        `mapped, and this one would too; options.maxRetained allows ${this.#limit.images} of ${this.#limit.bytes} bytes`,
      this.#path,
    );
  }

  #hasRoomFor({ images, bytes }: RetainedLimit): boolean {
    return (
      this.#images.size + images <= this.#limit.images && this.#bytes + bytes <= this.#limit.bytes
    );
  }

  /** A thread that kept an image may have ended since. */
  #forgetUnmapped(): void {
    for (const [loaderName, bytes] of this.#images) {
      if (native.isLoaded(loaderName)) continue;
      this.#images.delete(loaderName);
      this.#bytes -= bytes;
    }
  }
}
