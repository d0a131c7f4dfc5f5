import { type FSWatcher, readdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { copyDefinitions } from '../call/signature.js';
import type { Definitions } from '../call/types.js';
import { FileWatch, type FileWatchOptions } from '../files/file-watch.js';
import { filePath } from '../files/library-path.js';
import { type OpenAsyncOptions, planOpen } from '../handle/open-options.js';
import { type CloseOptions, SoHandle } from '../handle/so-handle.js';
import type { CloseResult } from '../image/image-info.js';
import { argumentTypeError, SoError } from '../internal/errors.js';
import { throwLater } from '../internal/events.js';
import { callback, type Keys, longestTimer, readOptions } from '../internal/options.js';
import type { SwapReport } from '../swap/report.js';
import { readWatchOptions, type Watch, watchFile } from '../triggers/watch.js';

/** The options of `watchDirectory()`. */
export interface DirectoryOptions<D extends Definitions = Definitions> extends FileWatchOptions {
  /**
   * The names of the files that are libraries: a regular expression, or a function that returns whether a name is one.
   * Defaults to names that end with `.so` and do not begin with a dot.
   */
  readonly match?: RegExp | ((name: string) => boolean);
  /** The functions to bind in each library, or a function that returns those of one path. Defaults to none. */
  readonly definitions?: D | ((path: string) => D);
  /**
   * The options that each library is opened with, or a function that returns those of one path; `swap` in them says how it
   * is swapped. Defaults to those of {@link SoHandle.openAsync}.
   */
  readonly open?: OpenAsyncOptions<D> | ((path: string) => OpenAsyncOptions<D>);
  /** A function that is called with the handle of a library that was opened. Defaults to none. */
  readonly opened?: (handle: SoHandle<D>) => void;
  /** A function that is called after a swap of a library. Defaults to none. */
  readonly swapped?: (handle: SoHandle<D>, report: SwapReport) => void;
  /** A function that is called with the closed handle of a library whose file has gone. Defaults to none. */
  readonly closed?: (handle: SoHandle<D>, result: CloseResult) => void;
  /**
   * A function that is called with the error of a file that could not be opened or swapped; `error.path` names it. It is
   * tried again when it changes. Defaults to a warning of the process.
   */
  readonly refused?: (error: SoError) => void;
}

const keys: Keys<DirectoryOptions> = {
  settle: true,
  persistent: true,
  poll: true,
  match: true,
  definitions: true,
  open: true,
  opened: true,
  swapped: true,
  closed: true,
  refused: true,
};

/** A watch of a directory. */
export interface DirectoryWatch<D extends Definitions = Definitions>
  extends Watch,
    AsyncDisposable {
  /** The open handles, by path. */
  readonly handles: ReadonlyMap<string, SoHandle<D>>;
  /** Resolves when each library that was there at first was tried: it is open, refused or still being written. Never rejects, and keeps the process alive as long. */
  readonly ready: Promise<void>;
  /**
   * Ends the watch and closes all handles, as {@link SoHandle.closeAsync} does.
   *
   * @returns Rejects with the first error, `ERR_SOSWAP_BUSY` say, after the others are closed.
   *
   * @example
   * const plugins = watchDirectory('./');
   * await plugins.closeAsync({ timeout: 5000 });
   */
  closeAsync(options?: CloseOptions): Promise<void>;
}

/**
 * Keeps every library in a directory open: opens what is new, swaps what has other bytes, and closes what has gone, when its
 * calls have returned. Directories below it are not watched. A file is opened on other threads, when it is complete.
 *
 * @param directory A path or a `file:` URL. It may be a symbolic link that is changed, and may go and come again.
 * @param options What is a library, how it is opened, and whom to call.
 * @returns The watch. `close()` ends it and leaves the handles open; they are swapped no more.
 * @throws {SoError} `ERR_SOSWAP_NOT_FOUND`, `ERR_SOSWAP_NOT_A_FILE`, `ERR_SOSWAP_UNREADABLE`: there is no such
 * directory, or it cannot be listed.
 * @throws {TypeError | RangeError} A wrong argument: `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`.
 *
 * @example
 * const plugins = watchDirectory('./', {
 *   definitions: { quote: { arguments: ['float64', 'uint32'], return: 'float64' } },
 *   refused: ({ path, message }) => console.error(path, message),
 * });
 * await plugins.ready;
 * for (const { functions } of plugins.handles.values()) console.log(functions.quote(100, 2)); // 200
 * await plugins.closeAsync();
 */
export function watchDirectory<const D extends Definitions = Record<never, never>>(
  directory: string | URL,
  options: DirectoryOptions<D> = {},
): DirectoryWatch<D> {
  return new Directory(filePath('directory', directory), options);
}

class Directory<D extends Definitions> implements DirectoryWatch<D> {
  readonly handles = new Map<string, SoHandle<D>>();
  readonly ready: Promise<void>;

  readonly #path: string;
  readonly #settings: FileWatchOptions;
  readonly #isLibrary: (name: string) => boolean;
  readonly #definitions: (path: string) => D | undefined;
  readonly #open: (path: string) => OpenAsyncOptions<D> | undefined;
  readonly #calls: Pick<DirectoryOptions<D>, 'opened' | 'swapped' | 'closed' | 'refused'>;
  /** What is done about each path: a watch that waits for a file to open, or that of its handle. */
  readonly #watches = new Map<string, Watch>();
  /** Sees another directory in the place of this one. */
  readonly #place: FileWatch;
  #watcher: FSWatcher | undefined;
  #again: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(path: string, options: DirectoryOptions<D>) {
    const given = readOptions<DirectoryOptions<D>>('options', options, keys);
    const { settle, persistent, poll } = given;
    const { swap: _, ...settings } = readWatchOptions({ settle, persistent, poll });
    this.#settings = settings;
    this.#isLibrary = matcher(given.match);
    const { definitions, open } = given;
    if (definitions !== undefined && typeof definitions !== 'function') {
      copyDefinitions(definitions as D);
    }
    if (typeof open !== 'function') planOpen(path, open, 'openAsync', 'options.open'); // throws what is wrong with it
    this.#definitions = perPath(definitions);
    this.#open = perPath(open);
    this.#calls = {};
    for (const name of ['opened', 'swapped', 'closed', 'refused'] as const) {
      Object.assign(this.#calls, { [name]: callback(`options.${name}`, given[name]) });
    }
    this.#path = path;
    const names = list(path);
    this.#place = new FileWatch(path, { ...settings, settle: 0 }, async () => this.#follow());
    this.#watch();
    const awake = setInterval(() => {}, longestTimer); // the timers of a watch let the process end
    const tried = Promise.all(names.map((name) => this.#add(name)));
    this.ready = tried.then(() => clearInterval(awake));
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#again);
    this.#place.close();
    this.#watcher?.close();
    for (const watch of this.#watches.values()) watch.close();
    this.#watches.clear();
  }

  async closeAsync(options?: CloseOptions): Promise<void> {
    this.close();
    const closings = [...this.handles.values()].map((handle) => handle.closeAsync(options));
    await Promise.allSettled(closings);
    await Promise.all(closings);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closeAsync();
  }

  /** Another directory, or another state of it, is at the path. */
  #follow(): void {
    this.#watch();
    this.#look();
  }

  #watch(): void {
    this.#watcher?.close();
    try {
      const { persistent = false } = this.#settings;
      this.#watcher = watch(this.#path, { persistent }, (event) => {
        if (event === 'rename') this.#look(); // a name has come or gone
      });
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      this.#watcher = undefined; // it has gone, or cannot be watched and is polled
    }
  }

  /** Adds the libraries that are new; and once more, because an event may come before the name. */
  #look(isAgain = false): void {
    if (this.#isClosed) return;
    for (const name of namesIn(this.#path)) void this.#add(name);
    if (isAgain) return;
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.#look(true), this.#settings.settle);
    this.#again.unref();
  }

  /** Resolves when the file was tried for the first time. */
  async #add(name: string): Promise<void> {
    const path = join(this.#path, name);
    if (this.#watches.has(path) || this.handles.has(path) || !this.#isLibrary(name)) return;
    await new Promise<void>((resolve) => {
      const take = async () => {
        try {
          await this.#take(path);
        } finally {
          resolve();
        }
      };
      const missing = () => {
        this.#forget(path);
        resolve();
      };
      const refused = (error: SoError) => this.#refused(error);
      const ended = () => resolve();
      try {
        const dependencies = () => []; // until it is open
        const watched = { take, missing, dependencies, refused, ended };
        const watch = watchFile(path, this.#settings, watched);
        this.#watches.set(path, watch);
      } catch (error) {
        this.#refused(SoError.of(error, `cannot watch '${path}'`, path));
        resolve();
      }
    });
  }

  /** Opens the library, and lets its handle follow it from now on. */
  async #take(path: string): Promise<void> {
    const handle = await SoHandle.openAsync<D>(path, this.#definitions(path), this.#open(path));
    if (this.#isClosed) return void handle.close();
    this.#forget(path);
    this.handles.set(path, handle);
    handle.on('swap', (report) => this.#calls.swapped?.(handle, report));
    handle.on('refused', (error) => {
      if (!handle.closed) this.#refused(error);
    });
    handle.on('missing', () => void this.#remove(path, handle));
    this.#watches.set(path, handle.watch(this.#settings));
    throwLater(() => this.#calls.opened?.(handle));
  }

  async #remove(path: string, handle: SoHandle<D>): Promise<void> {
    if (this.#isClosed) return;
    this.#forget(path);
    for (;;) {
      try {
        const result = await handle.closeAsync();
        this.handles.delete(path);
        throwLater(() => this.#calls.closed?.(handle, result));
        return this.#look(); // the file may have come again
      } catch {
        // Calls are in flight still.
      }
    }
  }

  #forget(path: string): void {
    this.#watches.get(path)?.close();
    this.#watches.delete(path);
  }

  #refused(error: SoError): void {
    const { refused } = this.#calls;
    if (refused === undefined) process.emitWarning(error);
    else throwLater(() => refused(error));
  }
}

function matcher(match: unknown): (name: string) => boolean {
  const given = match ?? /^[^.].*\.so$/;
  if (given instanceof RegExp) return (name) => name.search(given) >= 0; // test() of /g has a state
  if (typeof given === 'function') return (name) => given(name) === true;
  throw argumentTypeError('options.match', 'a regular expression or a function', match);
}

/** What a function returns for a path, or an object that is the same for all paths. */
function perPath<T>(given: unknown): (path: string) => T | undefined {
  return typeof given === 'function' ? (path) => given(path) : () => given as T | undefined;
}

/** @throws {SoError} `ERR_SOSWAP_NOT_FOUND`, `ERR_SOSWAP_NOT_A_FILE`, `ERR_SOSWAP_UNREADABLE` */
function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const known = code === 'ENOENT' ? 'ERR_SOSWAP_NOT_FOUND' : 'ERR_SOSWAP_UNREADABLE';
    const why = `cannot watch the directory '${path}': ${message}`;
    throw new SoError(code === 'ENOTDIR' ? 'ERR_SOSWAP_NOT_A_FILE' : known, why, path, undefined, {
      cause,
    });
  }
}

/** Nothing while the directory is absent. */
function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
