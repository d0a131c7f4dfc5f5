import { type BigIntStats, type FSWatcher, statSync, watch } from 'node:fs';
import { basename } from 'node:path';
import { longestTimer } from '../internal/options.js';
import { pathHops } from './path-hops.js';

/** How {@link FileWatch} watches. */
export interface FileWatchOptions {
  /** How long the file must have been left alone, in milliseconds. Default 50. */
  readonly settle?: number;
  /** Whether the watch keeps the process alive. Default `false`. */
  readonly persistent?: boolean;
}

/** How often a file is looked at whose directories cannot all be watched, in milliseconds. */
const pollInterval = 1000;

/** The longest pause between two tries with a file that is being written, in milliseconds. */
const longestPause = 1000;

/** One directory that is watched. */
interface WatchedDirectory {
  readonly watcher: FSWatcher;
  /** Another directory may come into its place, which this watcher does not see. */
  readonly identity: string | undefined;
  /** What matters in it. */
  names: Set<string>;
}

/**
 * Tells when the file at a path has become another one, or has been written, and has then been left alone for
 * a while. The path is followed anew after every event, so that a symbolic link that is flipped, a directory
 * that is renamed and a file that comes back are seen; which events arrive does not matter. Where directories cannot
 * be watched, for lack of permission or because inotify(7) has no watches left, the file is looked at every second.
 */
export class FileWatch {
  readonly #path: string;
  readonly #settle: number;
  readonly #persistent: boolean;
  readonly #settled: () => Promise<void>;
  readonly #directories = new Map<string, WatchedDirectory>();
  #seen: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #pause = 0;
  #telling = false;
  #tellAgain = false;
  #poll: NodeJS.Timeout | undefined;
  #closed = false;

  /**
   * `settled` is called after each change, once it is over, if there is a file then. The next call waits for the end
   * of the one before, and is one for all that changed meanwhile. What it rejects with is an unhandled rejection.
   */
  constructor(path: string, options: FileWatchOptions, settled: () => Promise<void>) {
    this.#path = path;
    this.#settle = options.settle ?? 50;
    this.#persistent = options.persistent ?? false;
    this.#settled = settled;
    this.#follow();
    this.#seen = identity(path);
  }

  /**
   * Calls `settled` after the settle time, although nothing has changed. Each time in a row the pause is about
   * twice as long, up to a second more than the settle time.
   */
  again(): void {
    this.#wait(this.#settle + this.#pause);
    this.#pause = Math.min(2 * this.#pause + 10, longestPause);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#poll);
    for (const directory of this.#directories.keys()) this.#leave(directory);
  }

  /** Watches the directories that matter now; what changes on the way meanwhile is followed at once. */
  #follow(): void {
    let blind: boolean;
    let changed: boolean;
    do {
      blind = false;
      changed = false;
      const hops = pathHops(this.#path);
      for (const directory of this.#directories.keys()) {
        if (!hops.has(directory)) this.#leave(directory);
      }
      for (const [directory, names] of hops) {
        const now = directoryIdentity(directory);
        const watched = this.#directories.get(directory);
        if (watched !== undefined && watched.identity === now) {
          watched.names = names;
        } else {
          this.#leave(directory);
          const outcome = this.#watch(directory, now, names);
          changed ||= outcome === 'watched';
          blind ||= outcome === 'impossible';
        }
      }
    } while (changed);
    this.#pollWhile(blind);
  }

  #watch(directory: string, now: string | undefined, names: Set<string>) {
    try {
      const watcher = watch(directory, { persistent: this.#persistent }, (event, name) => {
        // An event of the directory itself has its name: it may be gone, and this watcher with it.
        const itself = name === basename(directory);
        if (itself && event === 'rename') this.#leave(directory);
        if (itself || name === null || watched.names.has(name)) this.#look();
      });
      const watched = { watcher, identity: now, names };
      watcher.on('error', () => {
        this.#leave(directory);
        this.#look();
      });
      this.#directories.set(directory, watched);
      return 'watched';
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // The directory above is watched already, and tells when it comes back.
      return code === 'ENOENT' || code === 'ENOTDIR' ? 'absent' : 'impossible';
    }
  }

  #leave(directory: string): void {
    this.#directories.get(directory)?.watcher.close();
    this.#directories.delete(directory);
  }

  #pollWhile(blind: boolean): void {
    if (blind === (this.#poll !== undefined)) return;
    clearInterval(this.#poll);
    this.#poll = blind ? setInterval(() => this.#look(), pollInterval) : undefined;
    if (!this.#persistent) this.#poll?.unref();
  }

  #look(): void {
    if (this.#closed) return;
    this.#follow();
    if (this.#hasChanged()) this.#wait(this.#settle);
  }

  #hasChanged(): boolean {
    const now = identity(this.#path);
    if (now === this.#seen) return false;
    this.#seen = now;
    this.#pause = 0;
    return true;
  }

  #wait(time: number): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#tell(), Math.min(time, longestTimer));
    if (!this.#persistent) this.#timer.unref();
  }

  async #tell(): Promise<void> {
    if (this.#hasChanged()) return this.#wait(this.#settle); // it is still changing
    if (this.#seen === undefined) return;
    this.#tellAgain = true;
    if (this.#telling) return;
    this.#telling = true;
    try {
      while (this.#tellAgain && !this.#closed) {
        this.#tellAgain = false;
        await this.#settled();
      }
    } finally {
      this.#telling = false;
    }
  }
}

/** What tells one directory from another: inode numbers are given out again. */
function directoryIdentity(path: string): string | undefined {
  const status = statOrUndefined(path);
  return status && [status.dev, status.ino, status.birthtimeNs].join();
}

/** What tells one state of a file from another; `undefined` where there is none. */
function identity(path: string): string | undefined {
  const status = statOrUndefined(path);
  if (status === undefined) return undefined;
  const { dev, ino, size, mtimeNs, ctimeNs } = status;
  return [dev, ino, size, mtimeNs, ctimeNs].join();
}

/** Out of reach is as good as absent. */
function statOrUndefined(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}
