import { FileWatch, type FileWatchOptions } from '../files/file-watch.js';

/** The watches of the files that a library needs. */
export class DependencyWatches {
  readonly #options: FileWatchOptions;
  readonly #changed: () => void;
  readonly #watches = new Map<string, FileWatch>();

  /** @param changed Called when one of the files was replaced, and has stayed unchanged for the settle time. */
  constructor(options: FileWatchOptions, changed: () => void) {
    this.#options = options;
    this.#changed = changed;
  }

  has(path: string): boolean {
    return this.#watches.has(path);
  }

  /** Watches these files, and no others any more. */
  follow(paths: readonly string[]): void {
    const wanted = new Set(paths);
    for (const [path, watch] of this.#watches) {
      if (wanted.has(path)) continue;
      watch.close();
      this.#watches.delete(path);
    }
    for (const path of wanted) {
      if (this.#watches.has(path)) continue;
      this.#watches.set(path, new FileWatch(path, this.#options, async () => this.#changed()));
    }
  }
}
