import { EventEmitter } from 'node:events';
import type { InspectOptions } from 'node:util';
import { copyDefinitions } from '../call/signature.js';
import type { SymbolReference, SymbolReferenceOptions } from '../call/symbol-reference.js';
import type { BoundFunctions, Definition, Definitions, FunctionFor } from '../call/types.js';
import { type FileStatus, orOverwritten } from '../image/file-status.js';
import type { CloseResult, ImageInfo } from '../image/image-info.js';
import { SoError } from '../internal/errors.js';
import {
  emitFailure,
  emitOutcome,
  emitOutcomeAsync,
  emitRefused,
  emitRolledBack,
  emitSwap,
  emitUnmapped,
  throwLater,
  warnIfUnheard,
} from '../internal/events.js';
import { defaultTimeout, type Keys, milliseconds, readOptions } from '../internal/options.js';
import { runAsync, runSync, type Steps } from '../internal/steps.js';
import { traced } from '../internal/tracing.js';
import { native } from '../native/addon.js';
import { reserveStack } from '../native/stack.js';
import { drainAndClose } from '../swap/drain.js';
import { type Loaded, loadFirst } from '../swap/first.js';
import {
  type ChangedSwapOptions,
  planChangedSwap,
  planRollback,
  planSwap,
  type SwapOptions,
} from '../swap/plan.js';
import type { SwapReport } from '../swap/report.js';
import type { FailedProbation, SwapTarget } from '../swap/target.js';
import { Turns } from '../swap/turns.js';
import { readWatchOptions, type Watch, type WatchOptions, watchFile } from '../triggers/watch.js';
import { endLivesAtExit } from './at-exit.js';
import type { HandleEvents } from './events.js';
import { type OpenAsyncOptions, type OpenOptions, planOpen } from './open-options.js';
import { PreparedSwap } from './prepared-swap.js';
import { addHandle, keepAlive, removeHandle } from './registry.js';

/** The options of `SoHandle.closeAsync()`. */
export interface CloseOptions {
  /** Milliseconds, 0 or more, that calls in flight may take. Defaults to 10,000. */
  readonly timeout?: number;
}

/** A state that a library saved: options of {@link SoHandle.open}. */
export interface ExportedState {
  /** The bytes; a copy. */
  readonly state: Buffer;
  /** The version that the library gave them. */
  readonly stateVersion: number;
}

const closeKeys: Keys<CloseOptions> = { timeout: true };

/**
 * One library path, its bound functions and its current image. Belongs to the thread that opened it, and emits
 * {@link HandleEvents}, whoever asked for the swap.
 *
 * @example
 * price.on('swap', ({ generation, unmapped }) => console.log(generation, unmapped));
 * price.on('refused', ({ code, message }) => console.error(code, message));
 */
export class SoHandle<D extends Definitions = Definitions> extends EventEmitter<HandleEvents> {
  /** The absolute path that every image is taken from. Each swap follows symbolic links anew. */
  readonly path: string;
  /** The bound functions by symbol name. A program may keep them: each follows every swap. */
  readonly functions: BoundFunctions<D>;

  readonly #target: SwapTarget<D>;
  readonly #turns: Turns<D>;
  readonly #watches = new Set<Watch>();

  /**
   * Loads the library and binds its functions. Its constructors run on this thread.
   *
   * @param path A path, a `file:` URL, or a bare name (`libz.so.1`) that is looked up as dlopen(3) documents.
   * @param definitions The functions to bind, by symbol name. TypeScript infers their types from it.
   * @param options How the library is loaded, now and at every swap.
   * @returns The handle. It stays open as long as it, or one of its functions, can be reached, or until `close()`.
   * @throws {SoError} The file or a symbol is refused; nothing stays loaded. `ERR_SOSWAP_NOT_FOUND`, `_NOT_A_FILE`,
   * `_UNREADABLE`, `_BEING_WRITTEN`, `_TRUNCATED`, `_NOT_ELF`, `_WRONG_MACHINE`, `_NOT_SHARED_OBJECT`, `_MALFORMED`,
   * `_MISSING_SYMBOL`, `_MISSING_DEPENDENCY`, `_UNDEFINED_SYMBOL`, `_REPLACED_DEPENDENCY`, `_C_LIBRARY`, `_NOEXEC`,
   * `_NO_PROC`, `_LOADER`, `_BUSY`, `_SYSTEM`, `_RETAINED_LIMIT`; with `image: 'direct'` `_STILL_LOADED`: an older image of the path is loaded,
   * and dlopen(3) would return that.
   * @throws {TypeError} A wrong argument: `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`.
   *
   * @example
   * const price = SoHandle.open('./libprice.so', {
   *   quote: { arguments: ['float64', 'uint32'], return: 'float64' },
   * });
   * const { quote } = price.functions;
   * console.log(quote(101.5, 2)); // 203
   */
  static open<const D extends Definitions = Record<never, never>>(
    path: string | URL,
    definitions: D = {} as D,
    options: OpenOptions<D> = {},
  ): SoHandle<D> {
    reserveStack();
    const copy = copyDefinitions(definitions);
    const { source, first } = planOpen<D>(path, options, 'open');
    return new SoHandle(runSync(loadFirst(source, copy, first)));
  }

  /**
   * As {@link open}, without holding this thread: others copy and inspect the file, and one loads it and runs its
   * constructors, as in an `open-first` swap. Copying 1 GB takes seconds.
   *
   * @returns The handle. Rejects as {@link open} throws; with `ERR_SOSWAP_LOADER` if constructors do not return in time.
   *
   * @example
   * const large = await SoHandle.openAsync('./libprice.so', { quote: { return: 'float64' } });
   * large.close();
   */
  static async openAsync<const D extends Definitions = Record<never, never>>(
    path: string | URL,
    definitions: D = {} as D,
    options: OpenAsyncOptions<D> = {},
  ): Promise<SoHandle<D>> {
    reserveStack();
    const copy = copyDefinitions(definitions);
    const { source, first } = planOpen<D>(path, options, 'openAsync');
    return new SoHandle(await runAsync(loadFirst(source, copy, first)));
  }

  /** @internal */
  constructor({ target, company }: Loaded<D>) {
    super();
    this.path = target.path;
    this.functions = target.table.functions;
    this.#target = target;
    this.#turns = new Turns(target, this, company);
    addHandle(this, this.#turns as Turns);
    endLivesAtExit();
    target.onProbationFailed = (failed) => void this.#goBack(failed);
    target.onClosed = (result) => throwLater(() => this.emit('close', result));
    const self = new WeakRef(this); // the count of its images may outlive it
    target.source.retained.onUnmapped = (info) => {
      const handle = self.deref();
      if (handle !== undefined) emitUnmapped(handle, info);
    };
  }

  /** 1 for the first image, one more with every swap. */
  get generation(): number {
    return this.#target.number;
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.#target.current === undefined;
  }

  /** The image that runs; `null` after {@link close}. */
  get image(): ImageInfo | null {
    return this.#target.current?.info ?? null;
  }

  /**
   * Binds one more function. The same name and signature give the same function.
   *
   * @returns The function; `null` if the symbol is absent and the definition says `optional`.
   * @throws {SoError} `ERR_SOSWAP_MISSING_SYMBOL`, `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_NOT_LOADED`.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`; `ERR_INVALID_ARG_VALUE`, also if the name is bound with another signature.
   *
   * @example
   * const version = price.getFunction('version', { return: 'string', optional: true });
   */
  getFunction<const S extends Definition>(symbol: string, definition: S): FunctionFor<S> {
    reserveStack();
    const { call, present } = this.#target.bind(symbol, definition);
    keepAlive(call, this);
    return (present ? call : null) as FunctionFor<S>;
  }

  /**
   * Returns the address of a symbol, as dlsym(3) finds it in the current image. It is dead after the next swap.
   *
   * @returns The address of the function or the data, for {@link soswap/dl!functionAt} or for another FFI.
   * @throws {SoError} `ERR_SOSWAP_MISSING_SYMBOL`, `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_NOT_LOADED`.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`.
   *
   * @example
   * let address = price.getSymbol('quote');
   * price.on('swap', () => (address = price.getSymbol('quote')));
   */
  getSymbol(symbol: string): bigint {
    return this.#target.addressOf(symbol);
  }

  /**
   * Refers to a symbol for code that calls it by its address, as another FFI does: the reference has the address in the
   * current image after every swap, and counts calls as in flight. The entry `soswap/koffi` is made of it.
   *
   * @param symbol The name of a function or a variable.
   * @returns A reference that may be kept.
   * @throws {SoError} `ERR_SOSWAP_MISSING_SYMBOL` unless `optional`, `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_NOT_LOADED`.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`.
   *
   * @example
   * const quote = price.symbolReference('quote');
   * await price.swap();
   * console.log(quote.address === price.getSymbol('quote')); // true
   */
  symbolReference(symbol: string, options: SymbolReferenceOptions = {}): SymbolReference {
    reserveStack();
    const reference = this.#target.refer(symbol, options);
    keepAlive(reference, this);
    return reference;
  }

  /**
   * Compares the file at {@link path} with the one that the current image was taken from, by its bytes. A file that was
   * touched, or overwritten or replaced with as many bytes, is read once: that holds this thread for about 200 ms for
   * 100 MB. A dependency counts too that the next swap would load anew, and one that is an image which its own handle has
   * replaced.
   *
   * @throws {SoError} `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_UNREADABLE`.
   *
   * @example
   * if (price.status() !== 'current') await price.swap();
   */
  status(): FileStatus {
    return runSync(orOverwritten(this.#status()));
  }

  #status(): Steps<FileStatus> {
    const { source } = this.#target;
    return this.#target.fileStatus({ unload: source.unload });
  }

  /**
   * As {@link status}, with the file read on another thread.
   *
   * @example
   * if ((await price.statusAsync()) !== 'current') await price.swap();
   */
  async statusAsync(): Promise<FileStatus> {
    return runAsync(orOverwritten(this.#status()));
  }

  /**
   * Makes the file that is at {@link path} now take effect, in one go on this thread.
   *
   * @returns What the swap did.
   * @throws {SoError} The swap failed; `outcome` says what it left behind. Beside the codes of {@link open}:
   * `ERR_SOSWAP_BUSY` while a call is in flight or another swap is under way, `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_VERIFY`,
   * `ERR_SOSWAP_QUARANTINE`, and with `image: 'direct'` `ERR_SOSWAP_STILL_LOADED`.
   * @throws {TypeError | RangeError} A wrong option: `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`;
   * the RangeError of a full stack, without a code, if there is no room on the stack for a swap: nothing changed.
   *
   * @example
   * const { generation, retained } = price.swapSync();
   * console.log(generation, retained); // 2 []
   */
  swapSync(options: SwapOptions<D> = {}): SwapReport {
    reserveStack((error) => emitRefused(this, error));
    const began = process.hrtime.bigint();
    const plan = planSwap<D>(options, this.#target.defaults, 'swapSync');
    return emitOutcome(this, () => this.#turns.swapSync(plan, began));
  }

  /**
   * Makes the file that is at {@link path} now take effect. Other threads copy and inspect it, and run its quarantine.
   * Then `close-first` waits for calls in flight, while new nonblocking calls wait for the new image; `open-first` loads it
   * on another thread too, makes it take all calls at once, and closes the old image when its last call has returned.
   * Swaps of one handle line up.
   *
   * @returns What the swap did; with `ifChanged` `null` if the file is `current`. Rejects as {@link swapSync} throws; with `ERR_SOSWAP_BUSY` after `timeout` has passed,
   * and with the reason of `signal` when that is aborted.
   *
   * @example
   * const report = await price.swap({ quarantine: true, verify: ({ quote }) => quote(100, 2) > 0 });
   * console.log(report.generation, report.unmapped); // 2 true
   * console.log(await price.swap({ ifChanged: true })); // null
   */
  swap(options?: SwapOptions<D> & { readonly ifChanged?: false }): Promise<SwapReport>;
  swap(options: ChangedSwapOptions<D>): Promise<SwapReport | null>;
  async swap(options: ChangedSwapOptions<D> = {}): Promise<SwapReport | null> {
    reserveStack((error) => emitRefused(this, error));
    const began = process.hrtime.bigint();
    const { plan, ifChanged } = planChangedSwap<D>(options, this.#target.defaults);
    const swap = (): Promise<SwapReport | null> =>
      ifChanged ? this.#turns.swapIfChanged(plan, began, 'swap') : this.#turns.swap(plan, began);
    return emitOutcomeAsync(this, () => this.#turns.lineUp(swap, plan.signal));
  }

  /**
   * Does the first half of a swap: copies and inspects the file that is at {@link path} now, runs its quarantine and
   * `verify`, and with `open-first` loads it beside the running image. No call sees anything of it before
   * {@link PreparedSwap.commit}. A handle has at most one prepared swap; `swap()` may come in between, and discards it.
   *
   * @returns The prepared swap. Rejects as {@link swap}; with `ERR_SOSWAP_BUSY` if a prepared swap waits.
   *
   * @example
   * const prepared = await price.prepare({ order: 'open-first' });
   * console.log(prepared.candidate.buildId);
   * await prepared.commit(); // or: prepared.discard();
   */
  async prepare(options: SwapOptions<D> = {}): Promise<PreparedSwap> {
    reserveStack((error) => emitRefused(this, error));
    const began = process.hrtime.bigint();
    const plan = planSwap<D>(options, this.#target.defaults, 'swap');
    const prepare = async () =>
      new PreparedSwap(this, this.#turns as Turns, await this.#turns.prepare(plan, began));
    const lineUp = () => this.#turns.lineUp(() => traced('prepare', [this], prepare), plan.signal);
    return emitFailure(this, lineUp);
  }

  /**
   * Goes back to the previous generation, from the private copy that was kept of it: the file at {@link path} is neither
   * read nor changed. It is a swap like any other, with a generation number of its own; going back again goes further
   * back, as far as the option `history` of {@link open} reaches. {@link status} is `rolled-back` then, and neither a
   * watch nor {@link swapOnSignal} nor `ifChanged` takes the same bytes again; `swap()` does.
   *
   * An image that stayed mapped is taken as it is, with its static data; otherwise they start anew.
   *
   * @param options As of {@link swap}.
   * @returns What the swap did; its `rollback` is true. Rejects as {@link swap}, and with `ERR_SOSWAP_NO_HISTORY`.
   *
   * @example
   * await price.swap();
   * const { rollback, generation } = await price.rollback();
   * console.log(rollback, generation); // true 3
   */
  async rollback(options: SwapOptions<D> = {}): Promise<SwapReport> {
    reserveStack((error) => emitRefused(this, error));
    const began = process.hrtime.bigint();
    const plan = planRollback<D>(options, this.#target.defaults);
    const swap = () => this.#turns.swap(plan, began, 'rollback');
    return emitOutcomeAsync(this, () => this.#turns.lineUp(swap, plan.signal));
  }

  /** Goes back from a generation that failed its probation, unless another swap came in between. Never rejects. */
  async #goBack({ generation, cause, swap }: FailedProbation): Promise<void> {
    const target = this.#target;
    const { order, timeout, unload } = swap;
    const plan = planRollback<D>({ order, timeout, unload }, target.defaults);
    const began = process.hrtime.bigint();
    try {
      const report = await this.#turns.lineUp(async () => {
        if (target.current !== generation) return undefined;
        return this.#turns.swap(plan, began, 'rollback');
      });
      if (report === undefined) return;
      emitSwap(this, report);
      emitRolledBack(this, report, cause);
    } catch (thrown) {
      if (this.closed) return;
      warnIfUnheard(this, emitRefused(this, thrown));
    }
  }

  /** The earlier generations that {@link rollback} can go back to; the one that it goes back to comes first. */
  get history(): ImageInfo[] {
    return this.#target.history.infos;
  }

  /**
   * Asks the running image for a copy of its state, by its hook soswap_save, as a swap does. It runs on. Another process,
   * or a handle that is opened later, begins with it.
   *
   * @returns Options of {@link open}; `null` if the library has no such hook, or saved nothing.
   * @throws {SoError} `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_NOT_LOADED`, `ERR_SOSWAP_BUSY`; `ERR_SOSWAP_REFUSED_BY_LIBRARY`,
   * `ERR_SOSWAP_STATE_TOO_LARGE`, `ERR_SOSWAP_NATIVE_EXCEPTION`, `ERR_SOSWAP_KEPT_VARIABLE`.
   *
   * @example
   * console.log(price.exportState()); // null
   */
  exportState(): ExportedState | null {
    reserveStack();
    const handed = this.#target.saveState();
    const pair = handed === undefined ? null : native.stateOf(handed);
    return pair === null ? null : { state: pair[0], stateVersion: pair[1] };
  }

  /**
   * Swaps whenever the file at {@link path} has been replaced and is complete, whatever replaced it: once for each
   * replacement. The events `swap` and `refused` report each swap; a refusal that nobody listens to is a warning of the
   * process; the event `missing` says that the file has gone. The same bytes in another file are no replacement. The watch
   * waits for a file that somebody is still writing, and tries a refused file again when it has changed. It does not keep the process alive, and ends with {@link close}.
   *
   * @throws {SoError} `ERR_SOSWAP_CLOSED`; `ERR_SOSWAP_UNREADABLE`: the permission model of Node.js hides the file.
   * @throws {TypeError | RangeError} A wrong option: `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`.
   *
   * @example
   * const watch = price.watch({ swap: { order: 'open-first' } }); // until watch.close()
   */
  watch(options: WatchOptions<D> = {}): Watch {
    const { swap, ...settings } = readWatchOptions(options);
    const plan = planSwap<D>(swap, this.#target.defaults, 'swap', 'options.swap');
    this.#target.running; // throws if it is closed
    const watch = watchFile(this.path, settings, {
      take: async () => {
        const began = process.hrtime.bigint();
        const swap = () => this.#turns.swapIfChanged(plan, began, 'watch');
        const report = await this.#turns.lineUp(swap, plan.signal);
        if (report !== null) emitSwap(this, report);
      },
      missing: () => throwLater(() => this.emit('missing', this.path)),
      dependencies: () => this.#target.dependencyPaths,
      refused: (error) => {
        warnIfUnheard(this, error);
        emitRefused(this, error);
      },
      ended: (watch) => this.#watches.delete(watch),
    });
    this.#watches.add(watch);
    return watch;
  }

  /**
   * Closes the library. Bound functions throw `ERR_SOSWAP_CLOSED` from now on, and every pending {@link swap} rejects with
   * that at once, unless it has taken effect. Closing again does nothing.
   *
   * @returns What became of the image; the same again for a handle that is closed.
   * @throws {SoError} `ERR_SOSWAP_BUSY` while a call is in flight; the handle stays open.
   *
   * @example
   * const { unmapped } = price.close();
   */
  close(): CloseResult {
    if (this.closed) return this.#target.closeResult;
    reserveStack();
    this.#turns.assertClosable();
    for (const watch of this.#watches) watch.close();
    removeHandle(this);
    return this.#target.close();
  }

  /**
   * As {@link close}, when the calls in flight have returned. New nonblocking calls wait as long, and then reject with
   * `ERR_SOSWAP_CLOSED`.
   *
   * @returns What became of the image. Rejects with `ERR_SOSWAP_BUSY` after `timeout` has passed: the handle stays open
   * then, and the calls that waited begin.
   *
   * @example
   * const { unmapped } = await price.closeAsync({ timeout: 5000 });
   */
  async closeAsync(options: CloseOptions = {}): Promise<CloseResult> {
    const { timeout } = readOptions('options', options, closeKeys);
    const most = milliseconds('options.timeout', timeout, defaultTimeout);
    return drainAndClose(this.#target, most, () => this.close());
  }

  /**
   * As {@link closeAsync}, at the end of the block.
   *
   * @example
   * await using sums = SoHandle.open('libm.so.6', {
   *   hypot: { arguments: ['f64', 'f64'], return: 'f64', nonblocking: true },
   * });
   * console.log(await sums.functions.hypot(3, 4)); // 5
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.closeAsync();
  }

  /** What console.log() prints. It reads no library, so the status may be open. */
  [Symbol.for('nodejs.util.inspect.custom')](
    _depth: number,
    options: InspectOptions,
    inspect: (value: unknown, options: InspectOptions) => string,
  ): string {
    const { path, generation } = this;
    return `SoHandle ${inspect({ path, generation, status: this.#statusUnread() }, options)}`;
  }

  #statusUnread(): string {
    try {
      if (this.closed) return 'closed';
      return this.#target.running.candidate.file.statusUnread() ?? 'not compared';
    } catch (error) {
      return error instanceof SoError ? error.code : String(error);
    }
  }

  /**
   * As {@link close}, at the end of the block.
   *
   * @example
   * using sums = SoHandle.open('libm.so.6', { hypot: { arguments: ['f64', 'f64'], return: 'f64' } });
   * console.log(sums.functions.hypot(3, 4)); // 5
   */
  [Symbol.dispose](): void {
    this.close();
  }
}
