import { type BigIntStats, type FSWatcher, statSync, watch } from 'node:fs';
import { basename } from 'node:path';
import { longestTimer } from '../internal/options.js';
import { pathHops } from './path-hops.js';

/** The options of a watch. */
export interface FileWatchOptions {
  /** Milliseconds, 0 or more, for which the file must stay unchanged before it is read. Defaults to 50. */
  readonly settle?: number;
  /** A watch that keeps the process alive. Defaults to `false`. */
  readonly persistent?: boolean;
}

/** Milliseconds between two checks of a file whose directories cannot all be watched. */
const pollInterval = 1000;

/** Milliseconds that a retry waits at most, beside the settle time. */
const maxRetryDelay = 1000;

/** A directory with its watcher. */
interface WatchedDirectory {
  readonly watcher: FSWatcher;
  /** Identifies the directory. The watcher does not see another directory that takes its place. */
  readonly identity: string | undefined;
  /** The file names that matter. */
  names: Set<string>;
}

/**
 * Watches a path and calls a function after the file was replaced or written and has then stayed unchanged for the
 * settle time. After each event the watch follows the path again and compares the file, so that the kind of event does
 * not matter: it sees a changed symbolic link, a renamed directory and a file that returns. If it cannot watch a
 * directory, because of permissions or because inotify(7) has no watches left, it compares the file every second.
 */
export class FileWatch {
  readonly #path: string;
  readonly #settle: number;
  readonly #persistent: boolean;
  readonly #settled: () => Promise<void>;
  readonly #directories = new Map<string, WatchedDirectory>();
  #seen: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #retryDelay = 0;
  #isCalling = false;
  #callAgain = false;
  #poll: NodeJS.Timeout | undefined;
  #closed = false;

  /**
   * @param settled Called once after each change, if the file exists. Changes during a call lead to one more call after
   * it. A rejection is an unhandled rejection of the process.
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
   * Calls `settled` after the settle time, although the file has not changed. Each call in a row waits about twice as
   * long as the one before, at most a second more than the settle time.
   */
  retry(): void {
    this.#schedule(this.#settle + this.#retryDelay);
    this.#retryDelay = Math.min(2 * this.#retryDelay + 10, maxRetryDelay);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#poll);
    for (const directory of this.#directories.keys()) this.#unwatch(directory);
  }

  /**
   * Watches the directories that matter now. Repeats this if it added a watcher, because the path may have changed
   * before.
   */
  #follow(): void {
    let blind: boolean;
    let changed: boolean;
    do {
      blind = false;
      changed = false;
      const hops = pathHops(this.#path);
      for (const directory of this.#directories.keys()) {
        if (!hops.has(directory)) this.#unwatch(directory);
      }
      for (const [directory, names] of hops) {
        const now = directoryIdentity(directory);
        const watched = this.#directories.get(directory);
        if (watched !== undefined && watched.identity === now) {
          watched.names = names;
        } else {
          this.#unwatch(directory);
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
        // An event with the name of the directory concerns the directory itself, which may be gone.
        const itself = name === basename(directory);
        if (itself && event === 'rename') this.#unwatch(directory);
        if (itself || name === null || watched.names.has(name)) this.#check();
      });
      const watched = { watcher, identity: now, names };
      watcher.on('error', () => {
        this.#unwatch(directory);
        this.#check();
      });
      this.#directories.set(directory, watched);
      return 'watched';
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // The watcher of the parent directory sees it when it returns.
      return code === 'ENOENT' || code === 'ENOTDIR' ? 'absent' : 'impossible';
    }
  }

  #unwatch(directory: string): void {
    this.#directories.get(directory)?.watcher.close();
    this.#directories.delete(directory);
  }

  #pollWhile(blind: boolean): void {
    if (blind === (this.#poll !== undefined)) return;
    clearInterval(this.#poll);
    this.#poll = blind ? setInterval(() => this.#check(), pollInterval) : undefined;
    if (!this.#persistent) this.#poll?.unref();
  }

  #check(): void {
    if (this.#closed) return;
    this.#follow();
    if (this.#hasChanged()) this.#schedule(this.#settle);
  }

  #hasChanged(): boolean {
    const now = identity(this.#path);
    if (now === this.#seen) return false;
    this.#seen = now;
    this.#retryDelay = 0;
    return true;
  }

  #schedule(delay: number): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#callSettled(), Math.min(delay, longestTimer));
    if (!this.#persistent) this.#timer.unref();
  }

  async #callSettled(): Promise<void> {
    if (this.#hasChanged()) return this.#schedule(this.#settle); // the file is still changing
    if (this.#seen === undefined) return;
    this.#callAgain = true;
    if (this.#isCalling) return;
    this.#isCalling = true;
    try {
      while (this.#callAgain && !this.#closed) {
        this.#callAgain = false;
        await this.#settled();
      }
    } finally {
      this.#isCalling = false;
    }
  }
}

/** Identifies a directory. The inode number alone is not enough: file systems reuse it. */
function directoryIdentity(path: string): string | undefined {
  const status = statOrUndefined(path);
  return status && [status.dev, status.ino, status.birthtimeNs].join();
}

/** Identifies a state of a file; `undefined` if there is no file. */
function identity(path: string): string | undefined {
  const status = statOrUndefined(path);
  if (status === undefined) return undefined;
  const { dev, ino, size, mtimeNs, ctimeNs } = status;
  return [dev, ino, size, mtimeNs, ctimeNs].join();
}

/** Treats a file that cannot be reached as absent. */
function statOrUndefined(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}
