import { EventEmitter } from 'node:events';
import { copyDefinitions } from '../call/signature.js';
import type { BoundFunctions, Definition, Definitions, FunctionFor } from '../call/types.js';
import { type FileStatus, orOverwritten } from '../image/file-status.js';
import type { CloseResult, ImageInfo } from '../image/image-info.js';
import {
  emitFailure,
  emitOutcome,
  emitOutcomeAsync,
  emitRefused,
  emitSwap,
  throwLater,
  warnIfUnheard,
} from '../internal/events.js';
import { runAsync, runSync } from '../internal/steps.js';
import { reserveStack } from '../native/stack.js';
import { loadFirst } from '../swap/first.js';
import { planSwap, type SwapOptions } from '../swap/plan.js';
import type { SwapReport } from '../swap/report.js';
import type { SwapTarget } from '../swap/target.js';
import { Turns } from '../swap/turns.js';
import { checkWatchOptions, type Watch, type WatchOptions, watchFile } from '../triggers/watch.js';
import type { HandleEvents } from './events.js';
import { loadPlan, type OpenAsyncOptions, type OpenOptions, sourceOf } from './open-options.js';
import { PreparedSwap } from './prepared-swap.js';
import { addHandle, keepAlive, removeHandle } from './registry.js';

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
    options: OpenOptions = {},
  ): SoHandle<D> {
    reserveStack();
    const copy = copyDefinitions(definitions);
    const plan = { onThread: false, timeout: 0 };
    return new SoHandle(new Turns(runSync(loadFirst(sourceOf(path, options), copy, plan))));
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
    options: OpenAsyncOptions = {},
  ): Promise<SoHandle<D>> {
    reserveStack();
    const copy = copyDefinitions(definitions);
    const plan = loadPlan(options);
    return new SoHandle(new Turns(await runAsync(loadFirst(sourceOf(path, options), copy, plan))));
  }

  /** @internal */
  constructor(turns: Turns<D>) {
    super();
    const { target } = turns;
    this.path = target.path;
    this.functions = target.table.functions;
    this.#target = target;
    this.#turns = turns;
    addHandle(this, this.#turns as Turns);
    const self = new WeakRef(this); // the count of its images may outlive it
    target.source.retained.onUnmapped = (info) =>
      throwLater(() => self.deref()?.emit('unmapped', info));
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
   * Compares the file at {@link path} with the one that the current image was taken from. A file that was touched, or
   * overwritten with as many bytes, is read: that holds this thread for about 200 ms for 100 MB.
   *
   * @throws {SoError} `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_UNREADABLE`.
   *
   * @example
   * if (price.status() !== 'current') await price.swap();
   */
  status(): FileStatus {
    return runSync(orOverwritten(this.#target.running.candidate.fileStatus()));
  }

  /**
   * As {@link status}, with the file read on another thread.
   *
   * @example
   * if ((await price.statusAsync()) !== 'current') await price.swap();
   */
  async statusAsync(): Promise<FileStatus> {
    return runAsync(orOverwritten(this.#target.running.candidate.fileStatus()));
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
    const plan = planSwap(options, this.#target.source.unload, 'swapSync');
    return emitOutcome(this, () => this.#turns.swapSync(plan, began));
  }

  /**
   * Makes the file that is at {@link path} now take effect. Other threads copy and inspect it, and run its quarantine.
   * Then `close-first` waits for calls in flight, while new nonblocking calls wait for the new image; `open-first` loads it
   * on another thread too, makes it take all calls at once, and closes the old image when its last call has returned.
   * Swaps of one handle line up.
   *
   * @returns What the swap did. Rejects as {@link swapSync} throws; with `ERR_SOSWAP_BUSY` after `timeout` has passed,
   * and with the reason of `signal` when that is aborted.
   *
   * @example
   * const report = await price.swap({ quarantine: true, verify: ({ quote }) => quote(100, 2) > 0 });
   * console.log(report.generation, report.unmapped); // 2 true
   */
  async swap(options: SwapOptions<D> = {}): Promise<SwapReport> {
    reserveStack((error) => emitRefused(this, error));
    const began = process.hrtime.bigint();
    const plan = planSwap(options, this.#target.source.unload, 'swap');
    const swap = () => this.#turns.lineUp(() => this.#turns.swap(plan, began), plan.signal);
    return emitOutcomeAsync(this, swap);
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
    const plan = planSwap(options, this.#target.source.unload, 'swap');
    const prepare = () => this.#turns.lineUp(() => this.#turns.prepare(plan, began), plan.signal);
    return new PreparedSwap(this, this.#turns as Turns, await emitFailure(this, prepare));
  }

  /**
   * Swaps whenever the file at {@link path} has been replaced and is complete, whatever replaced it: once for each
   * replacement. The events `swap` and `refused` report each swap; a refusal that nobody listens to is a warning of the
   * process. The watch waits for a file that somebody is still writing, and tries a refused file again when it has
   * changed. It does not keep the process alive, and ends with {@link close}.
   *
   * @throws {SoError} `ERR_SOSWAP_CLOSED`; `ERR_SOSWAP_UNREADABLE`: the permission model of Node.js hides the file.
   * @throws {TypeError | RangeError} A wrong option: `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`.
   *
   * @example
   * const watch = price.watch({ swap: { order: 'open-first' } }); // until watch.close()
   */
  watch(options: WatchOptions<D> = {}): Watch {
    const settings = checkWatchOptions(options);
    const plan = planSwap(options.swap ?? {}, this.#target.source.unload, 'swap');
    this.#target.running; // throws if it is closed
    const watch = watchFile(this.path, settings, {
      swapIfReplaced: () => this.#turns.lineUp(() => this.#turns.swapIfReplaced(plan)),
      swapped: (report) => emitSwap(this, report),
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
   * Closes the library. Bound functions throw `ERR_SOSWAP_CLOSED` from now on. Closing again does nothing.
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
