import { argumentTypeError, SoError } from '../internal/errors.js';
import { type Keys, readOptions } from '../internal/options.js';
import { native } from '../native/addon.js';
import type { ImageFacts } from '../native/types.js';
import type { ImageInfo } from './image-info.js';
import { sweepWhile } from './sweep.js';

/** How many images may be retained. */
export interface RetainedLimit {
  /** Images, 0 or more. */
  readonly images: number;
  /** Bytes of memory that they hold, 0 or more: private copies, and pages that were written. */
  readonly bytes: number;
}

/** The limit of a handle where the program names none. */
export const defaultRetainedLimit: RetainedLimit = { images: 1000, bytes: 2 ** 30 };

/**
 * Returns a limit; what it lacks is that of `absent`.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`
 */
export function retainedLimit(
  name: string,
  options: unknown,
  absent: RetainedLimit,
): RetainedLimit {
  const given = readOptions(name, options, limitKeys);
  const part = (key: keyof RetainedLimit): number => {
    const { [key]: value = absent[key] } = given;
    if (typeof value === 'number' && value >= 0) return value;
    throw argumentTypeError(`${name}.${key}`, 'a number, 0 or more', value);
  };
  return { images: part('images'), bytes: part('bytes') };
}

const limitKeys: Keys<RetainedLimit> = { images: true, bytes: true };

/**
 * Sets the limit of the retained images of the process: of all threads and all handles, closed handles included. Over it,
 * a swap whose old image would stay mapped is refused with `ERR_SOSWAP_RETAINED_LIMIT`, and so is
 * {@link SoHandle.open} of a library whose images stay mapped, or of which retained images are left. Images that are
 * retained already stay, and {@link SoHandle.close} is never refused. The option `maxRetained` of {@link SoHandle.open}
 * limits one handle.
 *
 * @param limit The new limit; without a property, that part stays as it is. Any thread sets it for the process. Defaults
 * to 4,000 images and 4 GiB.
 * @returns The limit that holds now.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`
 *
 * @example
 * limitRetained({ images: 200, bytes: 512 * 2 ** 20 });
 */
export function limitRetained(limit: Partial<RetainedLimit> = {}): RetainedLimit {
  const [images, bytes] = native.retainedLimit();
  const next = retainedLimit('limit', limit, { images, bytes });
  native.retainedLimit(next.images, next.bytes);
  return next;
}

/** The retained images of one handle: given up, but still mapped. */
export class RetainedImages {
  readonly #path: string;
  readonly #limit: RetainedLimit;
  /** By the loader's name. */
  readonly #images = new Map<string, { bytes: number; info?: ImageInfo | undefined }>();
  #bytes = 0;
  /** What the loader had unmapped when the images were last looked for. */
  #unmappedObjects = 0;
  /** Called for each image that goes after all. */
  onUnmapped: ((info: ImageInfo) => void) | undefined;

  constructor(path: string, limit: RetainedLimit = defaultRetainedLimit) {
    this.#path = path;
    this.#limit = limit;
  }

  add(facts: ImageFacts): void {
    const { loaderName } = facts;
    if (this.#images.has(loaderName)) return;
    const bytes = heldBy(facts);
    this.#images.set(loaderName, { bytes });
    this.#bytes += bytes;
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
   * Refuses a swap whose old image would be retained over the limit of the handle or of the process.
   *
   * @param running The image that runs.
   * @param staysMapped It is sure to be retained. Otherwise that is looked into only at the limit.
   * @throws {SoError} `ERR_SOSWAP_RETAINED_LIMIT`
   */
  assertRoomFor(running: ImageFacts, staysMapped: boolean): void {
    const isAtLimit =
      this.#images.size >= this.#limit.images ||
      this.#bytes + running.copySize >= this.#limit.bytes ||
      native.isAtRetainedLimit();
    if (!staysMapped && !isAtLimit) return;
    if (staysMapped || native.neededBy(running.loaderName).length > 0) {
      const bytes = heldBy(running);
      this.#assertWithinLimit(1, bytes);
      assertRoomInProcess(this.#path, 'swap', bytes);
    } else {
      this.#assertWithinLimit(0, 0); // one that nobody foresaw may have led over it
    }
  }

  #assertWithinLimit(comingImages: number, comingBytes: number): void {
    const { images, bytes } = this.#limit;
    const fits = () =>
      this.#images.size + comingImages <= images && this.#bytes + comingBytes <= bytes;
    if (fits()) return;
    this.forgetUnmapped();
    if (fits()) return;
    const another = comingImages > 0 ? ', and the running image would be retained too' : '';
    throw new SoError(
      'ERR_SOSWAP_RETAINED_LIMIT',
      `cannot swap '${this.#path}': ${this.#images.size} retained image(s) hold ${this.#bytes} bytes${another}; ` +
        `options.maxRetained allows ${images} image(s) and ${bytes} bytes`,
      this.#path,
    );
  }

  get size(): number {
    return this.#images.size;
  }

  /** A thread that kept an image mapped may have ended since. */
  forgetUnmapped(): void {
    const unmapped = native.unmappedObjects();
    if (unmapped === this.#unmappedObjects) return;
    this.#unmappedObjects = unmapped;
    const names = [...this.#images.keys()];
    const areLoaded = native.areLoaded(names);
    for (const [index, loaderName] of names.entries()) {
      const image = this.#images.get(loaderName);
      if (areLoaded[index] || image === undefined) continue;
      this.#images.delete(loaderName);
      this.#bytes -= image.bytes;
      if (image.info !== undefined) this.onUnmapped?.(image.info);
    }
  }
}

/**
 * Refuses to load a library whose images stay mapped, or of which some have stayed, if the process has reached its limit.
 *
 * @param staysMapped Its image is sure to be retained in the end.
 * @throws {SoError} `ERR_SOSWAP_RETAINED_LIMIT`
 */
export function assertMayOpen(path: string, staysMapped: boolean): void {
  const hasStayed = native.isAtRetainedLimit() && native.retainedImagesOf(path) > 0;
  if (staysMapped || hasStayed) assertRoomInProcess(path, 'open', 1);
}

/** The bytes that an image holds. */
function heldBy({ loaderName, copySize }: ImageFacts): number {
  return Math.max(0, native.heldBytes([loaderName])[0] ?? copySize);
}

function isOverLimit(images: number, bytes: number): boolean {
  const [retained, held] = native.retainedImages();
  const [mostImages, mostBytes] = native.retainedLimit();
  return retained + images > mostImages || held + bytes > mostBytes;
}

function assertRoomInProcess(path: string, what: string, bytes: number): void {
  if (!isOverLimit(1, bytes)) return;
  native.loadedImages(); // forgets those that have gone, and counts the others anew
  if (!isOverLimit(1, bytes)) return;
  const [images, held] = native.retainedImages();
  const [mostImages, mostBytes] = native.retainedLimit();
  throw new SoError(
    'ERR_SOSWAP_RETAINED_LIMIT',
    `cannot ${what} '${path}': the process has ${images} retained image(s), which hold ${held} bytes, and another would ` +
      `come; limitRetained() allows ${mostImages} image(s) and ${mostBytes} bytes`,
    path,
  );
}
