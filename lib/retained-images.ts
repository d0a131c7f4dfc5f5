import { argumentTypeError, SoError } from './errors.js';
import type { Image } from './image.js';
import { native } from './native.js';
import { checkOptions } from './options.js';

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
  #loaderNames = new Set<string>();

  constructor(path: string, limit: RetainedLimit) {
    this.#path = path;
    this.#limit = limit;
  }

  add({ loaderName }: Image): void {
    this.#loaderNames.add(loaderName);
  }

  /** @throws {SoError} `ERR_SOSWAP_RETAINED_LIMIT` if one more could be too many. */
  assertRoom(): void {
    if (this.#loaderNames.size === 0 && this.#limit.images > 0) return;
    // Some may be gone by now: a thread that held one has ended.
    const images = native
      .loadedImages()
      .filter(
        ({ retained, mappedFrom }) => retained.length > 0 && this.#loaderNames.has(mappedFrom),
      );
    this.#loaderNames = new Set(images.map(({ mappedFrom }) => mappedFrom));
    const bytes = images.reduce((sum, { memorySize }) => sum + memorySize, 0);
    if (images.length < this.#limit.images && bytes < this.#limit.bytes) return;
    throw new SoError(
      'ERR_SOSWAP_RETAINED_LIMIT',
      `cannot swap '${this.#path}': ${images.length} old image(s) with ${bytes} bytes stay mapped, and ` +
        `options.maxRetained allows ${this.#limit.images} with ${this.#limit.bytes}`,
      this.#path,
    );
  }
}
