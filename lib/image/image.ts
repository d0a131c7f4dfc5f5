import type { ImageFacts, NativeLibrary } from '../native/addon.js';
import type { RetainReason } from '../swap/report.js';

/** One loaded copy of a library: open until it is closed or left mapped for good. */
export class Image {
  readonly base: bigint;
  /** What the loader calls it. */
  readonly loaderName: string;

  /** Bytes of address space. */
  readonly memorySize: number;

  readonly #library: NativeLibrary;
  readonly #id: number;
  #open = true;

  constructor(library: NativeLibrary, { id, base, loaderName, memorySize }: ImageFacts) {
    this.base = base;
    this.loaderName = loaderName;
    this.memorySize = memorySize;
    this.#library = library;
    this.#id = id;
  }

  /** The number that the addon knows it by. */
  get id(): number {
    return this.#id;
  }

  get open(): boolean {
    return this.#open;
  }

  get callsInFlight(): number {
    return this.#open ? this.#library.callsInFlight(this.#id) : 0;
  }

  /** The address of a symbol as dlsym(3) finds it. */
  symbol(name: string): bigint | undefined {
    return this.#open ? this.#library.symbol(this.#id, name) : undefined;
  }

  /** dlclose(3). Why the image is still mapped afterwards; empty if it is gone. Once more does nothing. */
  close(): readonly RetainReason[] {
    if (!this.#open) return [];
    this.#open = false;
    return this.#library.closeImage(this.#id);
  }

  /** The same on another thread, which releases the snapshot too. */
  async closeAside(snapshot: number): Promise<readonly RetainReason[]> {
    if (!this.#open) return [];
    this.#open = false;
    return this.#library.closeImageAsync(this.#id, snapshot);
  }

  /** Leaves the image mapped for as long as the process lives, for these reasons. */
  keep(reasons: readonly RetainReason[]): void {
    if (!this.#open) return;
    this.#open = false;
    this.#library.keepImage(this.#id, reasons);
  }
}
