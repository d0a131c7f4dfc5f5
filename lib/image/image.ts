import type { HandedOver, ImageFacts, NativeLibrary } from '../native/types.js';
import type { RetainReason } from './image-info.js';

/** The addon knows images by number; a number is never used again. */
let lastId = 0;

/** One loaded copy of a library, or one that is about to be loaded. */
export class Image {
  /** The number that the addon knows it by. */
  readonly id = ++lastId;

  readonly #library: NativeLibrary;
  #facts: ImageFacts | undefined;

  constructor(library: NativeLibrary) {
    this.#library = library;
  }

  /** Whether it was opened, and neither closed nor kept since. */
  get isOpen(): boolean {
    return this.#library.isOpen(this.id);
  }

  /** What the loader says of it. First asked for while it is open. */
  get facts(): ImageFacts {
    this.#facts ??= this.#library.imageFacts(this.id);
    return this.#facts;
  }

  /** `undefined`: it was loaded anew, and the facts are others now. */
  set facts(facts: ImageFacts | undefined) {
    this.#facts = facts;
  }

  /** 0 too if it is not open. */
  get callsInFlight(): number {
    return this.#library.callsInFlight(this.id);
  }

  /** Why code of it may still run, apart from what is due at the end of this thread. */
  get inUse(): readonly RetainReason[] {
    return this.#library.inUse(this.id);
  }

  /** Whether a dependency is stale, or with `closes` one that would go with it has another file now. */
  hasStaleDependency(closes: boolean, closesAll: boolean): boolean {
    return this.#library.hasStaleDependency(this.id, closes, closesAll);
  }

  /** The paths of its dependencies, without those of the program. Empty if it is not open. */
  get dependencyPaths(): readonly string[] {
    return this.#library.dependencyPaths(this.id);
  }

  /** The paths of those that stay loaded when it is closed. */
  stayingDependencies(closesAll: boolean): readonly string[] {
    return this.#library.stayingDependencies(this.id, closesAll);
  }

  /** The address of a symbol as dlsym(3) finds it. */
  symbol(name: string): bigint | undefined {
    return this.isOpen ? this.#library.symbol(this.id, name) : undefined;
  }

  /**
   * Calls dlclose(3), unless code of it may still run and nothing forces it. Returns why the image is still mapped
   * afterwards; empty if it is gone, or was not open.
   */
  close(force: boolean): readonly RetainReason[] {
    return this.isOpen ? this.#library.closeImage(this.id, force) : [];
  }

  /** The same on another thread, which releases these snapshots too. */
  async closeAsync(snapshots: readonly number[], force: boolean): Promise<readonly RetainReason[]> {
    return this.isOpen ? this.#library.closeImageAsync(this.id, snapshots, force) : [];
  }

  /** What it leaves for the next one; `undefined` if it has no hooks and keeps nothing. */
  save(): HandedOver | undefined {
    return this.#library.save(this.id);
  }

  /** Begins its life with what another one left, or with nothing, unless that was done. */
  load(handed?: HandedOver): void {
    this.#library.load(this.id, handed);
  }

  /** Ends its life. Returns whether it did: it may refuse. */
  unload(): boolean {
    try {
      if (this.isOpen) this.#library.unload(this.id);
      return true;
    } catch {
      return false;
    }
  }

  /** Makes the list of images show the bytes of the copies that the handle can go back to. */
  showHistory(bytes: number): void {
    this.#library.showHistory(this.id, bytes);
  }

  /** Makes the list of images show why it is still open, though no function runs it. */
  markRetained(reasons: readonly RetainReason[]): void {
    this.#library.markRetained(this.id, reasons);
  }

  /** Leaves the image mapped for as long as the process lives, for these reasons. */
  keep(reasons: readonly RetainReason[]): void {
    if (this.isOpen) this.#library.keepImage(this.id, reasons);
  }
}
