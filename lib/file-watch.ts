import { type BigIntStats, type FSWatcher, statSync, watch } from 'node:fs';
import { pathHops } from './path-hops.js';

/** How {@link FileWatch} watches. */
export interface FileWatchOptions {
  /** How long the file must have been left alone, in milliseconds. Default 50. */
  readonly settle?: number;
  /** Whether the watch keeps the process alive. Default `false`. */
  readonly persistent?: boolean;
}

/**
 * Tells when the file at a path has become another one, or has been written, and has then been left alone for
 * a while. The path is followed anew after every event, so that a symbolic link that is flipped, a directory
 * that is renamed and a file that comes back are seen; which events arrive, and their names, do not matter.
 */
export class FileWatch {
  readonly #path: string;
  readonly #settle: number;
  readonly #persistent: boolean;
  readonly #settled: () => void;
  readonly #watchers = new Map<string, FSWatcher>();
  #seen: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** `settled` is called after each change, once it is over, if there is a file then. */
  constructor(path: string, options: FileWatchOptions, settled: () => void) {
    this.#path = path;
    this.#settle = options.settle ?? 50;
    this.#persistent = options.persistent ?? false;
    this.#settled = settled;
    this.#follow();
    this.#seen = identity(path);
  }

  /** Calls `settled` again after the settle time, although nothing has changed. */
  again(): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#tell(), this.#settle);
    if (!this.#persistent) this.#timer.unref();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  /** Watches the directories that matter now. */
  #follow(): void {
    const hops = pathHops(this.#path);
    for (const [directory, watcher] of this.#watchers) {
      if (hops.has(directory)) continue;
      watcher.close();
      this.#watchers.delete(directory);
    }
    for (const directory of hops) if (!this.#watchers.has(directory)) this.#watch(directory);
  }

  #watch(directory: string): void {
    try {
      const watcher = watch(directory, { persistent: this.#persistent }, () => this.#look());
      // The directory itself went: whatever holds its place now is watched instead.
      const renew = () => {
        watcher.close();
        this.#watchers.delete(directory);
        this.#look();
      };
      watcher.on('error', renew);
      this.#watchers.set(directory, watcher);
    } catch (error) {
      // It went between two looks. Anything else is for the caller: no permission, no watches left.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }

  #look(): void {
    if (this.#closed) return;
    this.#follow();
    const now = identity(this.#path);
    if (now === this.#seen) return;
    this.#seen = now;
    this.again();
  }

  #tell(): void {
    const now = identity(this.#path);
    if (now !== this.#seen) {
      this.#seen = now;
      this.again(); // it is still changing
    } else if (now !== undefined) {
      this.#settled();
    }
  }
}

/** What tells one state of a file from another; `undefined` where there is none. */
function identity(path: string): string | undefined {
  let status: BigIntStats | undefined;
  try {
    status = statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    return undefined; // out of reach is as good as absent
  }
  if (status === undefined) return undefined;
  const { dev, ino, size, mtimeNs, ctimeNs } = status;
  return [dev, ino, size, mtimeNs, ctimeNs].join();
}
