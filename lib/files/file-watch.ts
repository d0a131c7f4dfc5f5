import { type BigIntStats, type FSWatcher, statSync, watch } from 'node:fs';
import { basename } from 'node:path';
import { longestTimer } from '../internal/options.js';
import { pathHops } from './path-hops.js';
import { isSilent } from './silent-mounts.js';
import { isUnfinished } from './unfinished.js';

/** The options of a watch. */
export interface FileWatchOptions {
  /** Milliseconds, 0 or more, for which the file must stay unchanged before it is read. Defaults to 50. */
  readonly settle?: number;
  /** A watch that keeps the process alive. Defaults to `false`. */
  readonly persistent?: boolean;
  /**
   * Milliseconds, 1 or more, between two calls of stat(2) that compare the file, beside the events of inotify(7); `true`
   * for 1000. Defaults to `true` where the file lies on a network file system or on one of FUSE, 9P or a virtual machine,
   * where it is itself a mount point, and where a directory cannot be watched; elsewhere to no such calls.
   */
  readonly poll?: number | true;
}

/** Milliseconds between two comparisons of a file that is polled. */
const pollInterval = 1000;

/** Milliseconds for which a file that lacks its end must stay unchanged before it is read: its writer may pause. */
const longestPause = 1500;

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
 * not matter: it sees a changed symbolic link, a renamed directory and a file that returns. Where events may be missing, it
 * polls the file: on request, if a file system is silent, and if it cannot watch a directory, because of permissions or
 * because inotify(7) has no watches left.
 *
 * It waits longer for a file that lacks its end, because a writer may add pieces and pause between them.
 */
export class FileWatch {
  readonly #path: string;
  readonly #settle: number;
  readonly #persistent: boolean;
  readonly #settled: () => Promise<void>;
  readonly #missing: () => void;
  readonly #directories = new Map<string, WatchedDirectory>();
  readonly #interval: number | undefined;
  #seen: Identity | undefined;
  #changedAt = performance.now();
  #isSilent: boolean;
  #timer: NodeJS.Timeout | undefined;
  #retryDelay = 0;
  #isCalling = false;
  #callAgain = false;
  #isMissing = false;
  #poll: NodeJS.Timeout | undefined;
  #closed = false;

  /**
   * @param settled Called once after each change, if the file exists. Changes during a call lead to one more call after
   * it. A rejection is an unhandled rejection of the process.
   * @param missing Called once each time that the file has been absent for the settle time.
   */
  constructor(
    path: string,
    options: FileWatchOptions,
    settled: () => Promise<void>,
    missing: () => void = () => {},
  ) {
    this.#path = path;
    this.#settle = options.settle ?? 50;
    this.#persistent = options.persistent ?? false;
    this.#interval = options.poll === true ? pollInterval : options.poll;
    this.#settled = settled;
    this.#missing = missing;
    this.#isSilent = isSilent(path, pathHops(path).keys());
    this.#follow();
    this.#seen = identity(path);
  }

  /** Calls `settled` after the settle time: something else has changed than the file. */
  wake(): void {
    if (this.#timer === undefined) this.#schedule(this.#settle);
  }

  /**
   * Calls `settled` after the settle time, although the file has not changed. Each call in a row waits about twice as
   * long as the one before, at most a second more than the settle time.
   */
  retry(): void {
    if (this.#timer !== undefined) return; // the file has changed meanwhile
    this.#schedule(this.#settle + this.#retryDelay);
    this.#retryDelay = Math.min(2 * this.#retryDelay + 10, maxRetryDelay);
  }

  /**
   * Calls `settled` again once the file has been unchanged for so long that no writer will add anything to it. Returns
   * `false` if it has been already.
   */
  retryWhenDone(): boolean {
    const wait = this.#changedAt + longestPause - performance.now();
    if (wait > 0 && this.#timer === undefined) this.#schedule(wait);
    return wait > 0;
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
      if (changed) this.#isSilent = isSilent(this.#path, hops.keys());
    } while (changed);
    this.#pollWhile(blind || this.#isSilent || this.#interval !== undefined);
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

  #pollWhile(needed: boolean): void {
    if (needed === (this.#poll !== undefined)) return;
    clearInterval(this.#poll);
    const interval = Math.min(this.#interval ?? pollInterval, longestTimer);
    const look = () => this.#notice(this.#hasChanged());
    this.#poll = needed ? setInterval(look, interval) : undefined;
    if (!this.#persistent) this.#poll?.unref();
  }

  #check(): void {
    if (this.#closed) return;
    this.#follow();
    this.#notice(this.#hasChanged());
  }

  #notice(change: Change): void {
    if (change === 'other') {
      this.#isSilent = isSilent(this.#path, this.#directories.keys());
      this.#follow();
      this.#schedule(this.#settle);
    } else if (change === 'ctime' && this.#timer === undefined) {
      this.#schedule(this.#settle);
    }
  }

  #hasChanged(): Change {
    const now = identity(this.#path);
    const before = this.#seen;
    this.#seen = now;
    if (now?.contents === before?.contents) return now?.ctime === before?.ctime ? 'none' : 'ctime';
    this.#changedAt = performance.now();
    this.#retryDelay = 0;
    return 'other';
  }

  #schedule(delay: number): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#callSettled(), Math.min(delay, longestTimer));
    if (!this.#persistent) this.#timer.unref();
  }

  async #callSettled(): Promise<void> {
    this.#timer = undefined;
    if (this.#hasChanged() === 'other') return this.#schedule(this.#settle); // it is still changing
    const wasMissing = this.#isMissing;
    this.#isMissing = this.#seen === undefined;
    if (this.#isMissing) return wasMissing ? undefined : this.#missing();
    if (isUnfinished(this.#path) && this.retryWhenDone()) return;
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

/**
 * Between two looks at a file nothing has changed; or only the ctime, by another hard link, or by a writer that set the
 * mtime back, so that the file may have other bytes; or it is another file, or was written.
 */
type Change = 'none' | 'ctime' | 'other';

/** Identifies a state of a file. */
interface Identity {
  readonly contents: string;
  readonly ctime: bigint;
}

/** `undefined` if there is no file. */
function identity(path: string): Identity | undefined {
  const status = statOrUndefined(path);
  if (status === undefined) return undefined;
  const { dev, ino, size, mtimeNs, ctimeNs } = status;
  return { contents: [dev, ino, size, mtimeNs].join(), ctime: ctimeNs };
}

/** Treats a file that cannot be reached as absent. */
function statOrUndefined(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}
