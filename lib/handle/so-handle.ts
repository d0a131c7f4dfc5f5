import { channel } from 'node:diagnostics_channel';
import { EventEmitter } from 'node:events';
import { FunctionTable } from '../call/function-table.js';
import {
  type BoundFunctions,
  checkDefinitions,
  checkSymbolName,
  type Definition,
  type Definitions,
  type FunctionFor,
} from '../call/signature.js';
import { libraryPath } from '../files/library-path.js';
import { Candidate, type Demands, missingSymbols } from '../image/candidate.js';
import type { FileStatus } from '../image/file-status.js';
import type { Image } from '../image/image.js';
import { type OpenOptions, type Source, sourceOf } from '../image/source.js';
import { SoError } from '../internal/errors.js';
import { checkOptions, flag, milliseconds } from '../internal/options.js';
import { refusedChannel, warnIfUnheard } from '../internal/refusals.js';
import { throwLater } from '../internal/throw-later.js';
import { native } from '../native/addon.js';
import { planSwap, type SwapOptions, type SwapPlan } from '../swap/plan.js';
import { quarantineAsync, quarantineSync } from '../swap/quarantine/quarantine.js';
import type { ImageInfo, RetainReason, SwapOrder, SwapReport } from '../swap/report.js';
import { verifyAsync, verifySync } from '../swap/verify.js';
import { type Watch, type WatchOptions, watchFile } from '../triggers/watch.js';
import { addHandle, keepAlive, openHandles, removeHandle } from './registry.js';

/** An image and the candidate that it was loaded from. */
interface Loaded {
  readonly image: Image;
  readonly candidate: Candidate;
  readonly info: ImageInfo;
}

/** What an exchange has done, for its report. */
interface Exchange {
  readonly order: SwapOrder;
  readonly previous: Loaded;
  readonly current: ImageInfo;
  readonly missing: readonly string[];
  /** Why the previous image stays; `undefined` while it is open. */
  readonly retained: readonly RetainReason[] | undefined;
  /** Nanoseconds that it held the JavaScript thread. */
  readonly pause: bigint;
}

/** What became of the previous image, and how long that held the JavaScript thread, in nanoseconds. */
interface Left {
  readonly retained: readonly RetainReason[];
  readonly pause: bigint;
}

/** The events of a handle. Listeners are called on its thread. */
export interface HandleEvents {
  /** A swap took effect. */
  swap: [report: SwapReport];
  /** A swap was refused or failed; `rolledBack` of the error tells the one from the other. */
  refused: [error: SoError];
}

const swapChannel = channel('soswap:swap');

/**
 * One library path, its bound functions and its current image. Belongs to the thread that opened it.
 *
 * Every swap that takes effect emits `swap` with its report, and every one that does not emits `refused` with
 * its error, whoever asked for it. The same is published on the diagnostics channels `soswap:swap` and
 * `soswap:refused`, as `{ handle, report }` and `{ handle, error }`. What a listener or a subscriber throws is an
 * uncaught exception, and changes nothing about the swap.
 *
 * @example
 * price.on('swap', ({ generation, unmapped }) => console.log(generation, unmapped));
 * price.on('refused', ({ code, message }) => console.error(code, message));
 */
export class SoHandle<D extends Definitions = Definitions> extends EventEmitter<HandleEvents> {
  /** The absolute path that every image is taken from. Symbolic links are followed anew at each swap. */
  readonly path: string;
  /** The bound functions by symbol name. They may be kept for ever: each follows every swap. */
  readonly functions: BoundFunctions<D>;

  readonly #source: Source;
  readonly #definitions: D;
  readonly #table: FunctionTable<D>;
  #current: Loaded | undefined;
  #generation = 0;
  /** `preparing`: a swap looks at its candidate or waits; `exchanging`: between images. */
  #phase: 'idle' | 'preparing' | 'exchanging' = 'idle';
  #lastSwap: Promise<unknown> = Promise.resolve();
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
   * `_MISSING_SYMBOL`, `_MISSING_DEPENDENCY`, `_UNDEFINED_SYMBOL`, `_REPLACED_DEPENDENCY`, `_LOADER`, `_SYSTEM`.
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
    return new SoHandle(sourceOf(libraryPath(path), options), definitions);
  }

  private constructor(source: Source, definitions: D) {
    super();
    this.path = source.path;
    this.#source = source;
    this.#definitions = definitions;
    this.#table = new FunctionTable(source.path, source.library, definitions);
    this.functions = this.#table.functions;

    const candidate = Candidate.take(source, { table: this.#table });
    try {
      this.#load(candidate, 1);
    } catch (error) {
      candidate.release();
      throw error;
    }
    addHandle(this, this.#table.calls());
  }

  /** 1 for the first image, one more with every swap. */
  get generation(): number {
    return this.#generation;
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.#current === undefined;
  }

  /** The image that runs; `null` after {@link close}. */
  get image(): ImageInfo | null {
    return this.#current?.info ?? null;
  }

  /**
   * Binds one more function. The same name and signature give the same function.
   *
   * @param symbol Its name.
   * @param definition Its signature.
   * @returns The function; `null` if the symbol is absent and the definition says `optional`.
   * @throws {SoError} `ERR_SOSWAP_MISSING_SYMBOL`, `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_NOT_LOADED`.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`; `ERR_INVALID_ARG_VALUE`, also if the name is bound with another signature.
   *
   * @example
   * const version = price.getFunction('version', { return: 'string', optional: true });
   * console.log(version?.() ?? 'no version');
   */
  getFunction<const S extends Definition>(symbol: string, definition: S): FunctionFor<S> {
    const image = this.#loaded();
    checkSymbolName(symbol);
    checkDefinitions({ [symbol]: definition });
    const present = image.symbol(symbol) !== undefined;
    if (!present && !definition.optional) throw missingSymbols(this.path, [symbol]);
    const call = this.#table.bind(symbol, definition);
    keepAlive(call, this);
    if (present) this.#table.publish(symbol, call);
    return (present ? call : null) as FunctionFor<S>;
  }

  /**
   * The address of a symbol, as dlsym(3) finds it in the current image. It is dead after the next swap and
   * after {@link close}: whoever keeps it must ask again.
   *
   * @param symbol The name of a function or of data.
   * @returns The address, for {@link soswap/dl!functionAt} or for another FFI.
   * @throws {SoError} `ERR_SOSWAP_MISSING_SYMBOL`, `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_NOT_LOADED`.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`.
   *
   * @example
   * let address = price.getSymbol('quote');
   * price.on('swap', () => {
   *   address = price.getSymbol('quote');
   * });
   */
  getSymbol(symbol: string): bigint {
    const image = this.#loaded();
    checkSymbolName(symbol);
    const address = image.symbol(symbol);
    if (address === undefined) throw missingSymbols(this.path, [symbol]);
    return address;
  }

  /**
   * What became of the file since the current image was taken from it. If it was touched, or overwritten with as
   * many bytes, it is read and compared, which takes some 200 ms for 100 MB and holds the calling thread. While it is
   * being written it counts as overwritten.
   *
   * @throws {SoError} `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_UNREADABLE`.
   *
   * @example
   * if (price.status() !== 'current') await price.swap();
   */
  status(): FileStatus {
    return this.#open().candidate.fileStatus();
  }

  /** Whether {@link status} is `current`; what has to be read is read on another thread. */
  async #isCurrent(): Promise<boolean> {
    for (;;) {
      const asked = this.#open();
      const status = await asked.candidate.fileStatusAsync();
      if (asked === this.#open()) return status === 'current'; // swapSync() did not come in between
    }
  }

  /**
   * Makes the file that is at {@link path} now take effect, in one go on this thread.
   *
   * @returns What was done.
   * @throws {SoError} The candidate is refused, and nothing changed; or, with `rolledBack`, the old image
   * was loaded anew because the loader failed after it was closed. Beside the codes of {@link open}:
   * `ERR_SOSWAP_BUSY` while a call is in flight or another swap is under way, `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_VERIFY`,
   * `ERR_SOSWAP_QUARANTINE`, `ERR_SOSWAP_RETAINED_LIMIT`, and with `image: 'direct'` `ERR_SOSWAP_STILL_LOADED`.
   * @throws {TypeError | RangeError} A wrong option: `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`.
   *
   * @example
   * const { generation, retained } = price.swapSync();
   * console.log(generation, retained); // 2 []
   */
  swapSync(options: SwapOptions<D> = {}): SwapReport {
    const started = process.hrtime.bigint();
    const plan = planSwap(options, this.#source.unload);
    try {
      return this.#told(this.#swapAtOnce(plan, started));
    } catch (error) {
      throw this.#refused(error);
    }
  }

  #swapAtOnce(plan: SwapPlan<D>, started: bigint): SwapReport {
    this.#assertIdle();
    if (this.#phase !== 'idle') throw this.#busy('a swap is under way');
    this.#phase = 'preparing';
    let candidate: Candidate | undefined;
    try {
      this.#assertReplaceable(plan);
      candidate = Candidate.take(this.#source, this.#demands(plan));
      if (plan.quarantine !== undefined) quarantineSync(candidate, plan.quarantine);
      if (plan.verify !== undefined) verifySync(candidate, this.#definitions, plan.verify);
      this.#assertIdle();
      const exchange = this.#exchange(candidate, plan);
      return this.#report(exchange, this.#giveUp(exchange, plan), started);
    } catch (error) {
      candidate?.release();
      throw error;
    } finally {
      this.#phase = 'idle';
    }
  }

  /**
   * Makes the file that is at {@link path} now take effect. It is copied, inspected and put into quarantine
   * off the main thread. Then `close-first` waits for calls in flight, while new nonblocking calls wait
   * for the new image; `open-first` loads it there too, has it take all calls at once, and closes the old one when
   * its last call has returned. Swaps of one handle line up.
   *
   * @returns What was done. Rejects as {@link swapSync} throws; with `ERR_SOSWAP_BUSY` after `timeout` has passed.
   *
   * @example
   * const report = await price.swap({
   *   quarantine: true,
   *   verify: ({ quote }) => quote(100, 2) > 0,
   * });
   * console.log(report.generation, report.unmapped); // 2 true
   */
  async swap(options: SwapOptions<D> = {}): Promise<SwapReport> {
    try {
      return this.#told(await this.#lineUp(options));
    } catch (error) {
      throw this.#refused(error);
    }
  }

  /** Swaps after the swaps that were asked for before. */
  async #lineUp(options: SwapOptions<D>): Promise<SwapReport> {
    const started = process.hrtime.bigint();
    const plan = planSwap(options, this.#source.unload);
    return this.#inTurn(() => this.#swapInTurn(plan, started));
  }

  /** The same, unless the file is the current one when the turn comes. */
  async #lineUpIfReplaced(options: SwapOptions<D>): Promise<SwapReport | undefined> {
    const plan = planSwap(options, this.#source.unload);
    return this.#inTurn(async () => {
      const started = process.hrtime.bigint();
      return (await this.#isCurrent()) ? undefined : this.#swapInTurn(plan, started);
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#lastSwap.then(work);
    this.#lastSwap = turn.catch(() => {});
    return turn;
  }

  async #swapInTurn(plan: SwapPlan<D>, started: bigint): Promise<SwapReport> {
    this.#open();
    this.#phase = 'preparing';
    let candidate: Candidate | undefined;
    let opened: Image | undefined;
    try {
      this.#assertReplaceable(plan);
      candidate = await Candidate.takeAsync(this.#source, this.#demands(plan));
      if (plan.quarantine !== undefined) await quarantineAsync(candidate, plan.quarantine);
      if (plan.verify !== undefined) await verifyAsync(candidate, this.#definitions, plan.verify);
      if (plan.order === 'close-first') {
        this.#table.hold();
        await this.#table.idle(this.#open().image, plan.timeout);
        this.#assertIdle();
      }
      if (plan.aside) opened = await candidate.openAside(this.#generation + 1, this.#table);
      const exchange = this.#exchange(candidate, plan, opened);
      this.#table.release();
      await this.#table.idle(exchange.previous.image);
      const left = plan.aside
        ? await this.#giveUpAside(exchange, plan)
        : this.#giveUp(exchange, plan);
      return this.#report(exchange, left, started);
    } catch (error) {
      if (opened?.open) candidate?.giveUp(opened, this.#source.unload);
      candidate?.release();
      throw error;
    } finally {
      this.#table.release();
      this.#phase = 'idle';
    }
  }

  #demands({ order, unload, verify }: SwapPlan<D>): Demands {
    const { image, candidate } = this.#open();
    // Else it is gone, with what only it needs, when the next one is first loaded.
    const isThere = order === 'open-first' || verify !== undefined || candidate.stays(unload);
    return { table: this.#table, leaving: isThere ? '' : image.loaderName };
  }

  /**
   * The swap transaction. Up to the commit nothing has changed, or what has is taken back.
   *
   * @param opened An image of the candidate that was opened before.
   */
  #exchange(candidate: Candidate, { order, unload }: SwapPlan<D>, opened?: Image): Exchange {
    const started = process.hrtime.bigint();
    const previous = this.#open();
    const mustStay = previous.candidate.reasonsToKeep(unload);
    let retained: readonly RetainReason[] | undefined;
    let missing: readonly string[];
    this.#phase = 'exchanging';
    try {
      if (order === 'close-first' && mustStay.length === 0) retained = this.#retire(previous);
      missing = this.#load(candidate, this.#generation + 1, opened); // commits
    } catch (error) {
      throw previous.image.open ? error : this.#restore(previous, error);
    } finally {
      this.#phase = 'preparing';
    }
    const current = this.#open().info;
    const pause = process.hrtime.bigint() - started;
    return { order, previous, current, missing, retained, pause };
  }

  /** Gives the previous image up, if that is not done yet. */
  #giveUp({ previous, retained }: Exchange, { unload }: SwapPlan<D>): Left {
    const started = process.hrtime.bigint();
    retained ??= previous.candidate.giveUp(previous.image, unload);
    return { retained, pause: process.hrtime.bigint() - started };
  }

  /** The same on another thread. */
  async #giveUpAside({ previous, retained }: Exchange, { unload }: SwapPlan<D>): Promise<Left> {
    retained ??= await previous.candidate.giveUpAside(previous.image, unload);
    return { retained, pause: 0n };
  }

  /** Tells what happened. */
  #report(exchange: Exchange, { retained, pause }: Left, started: bigint): SwapReport {
    const { previous, current, missing } = exchange;
    const releasing = process.hrtime.bigint();
    previous.candidate.release();
    const ended = process.hrtime.bigint();
    return {
      path: this.path,
      generation: current.generation,
      order: exchange.order,
      previous: previous.info,
      current,
      unmapped: retained.length === 0,
      retained,
      missing,
      pauseMicroseconds: Number(exchange.pause + pause + ended - releasing) / 1000,
      totalMicroseconds: Number(ended - started) / 1000,
    };
  }

  #told(report: SwapReport): SwapReport {
    swapChannel.publish({ handle: this, report });
    throwLater(() => this.emit('swap', report));
    return report;
  }

  #refused(error: unknown): unknown {
    if (error instanceof SoError) {
      refusedChannel.publish({ handle: this, error });
      throwLater(() => this.emit('refused', error));
    }
    return error;
  }

  /** Closes the old image before the next one is opened. No function can be called until the commit. */
  #retire(previous: Loaded): readonly RetainReason[] {
    this.#table.detach();
    const retained = previous.candidate.giveUp(previous.image, 'always');
    if (retained.length > 0 && this.#source.direct) throw this.#stillLoaded(retained);
    return retained;
  }

  /** Opens the candidate and commits it. Throws with nothing of it left, and nothing committed. */
  #load(
    candidate: Candidate,
    generation: number,
    image = candidate.open(generation),
  ): readonly string[] {
    try {
      return this.#commit({ image, candidate, info: candidate.describe(image, generation) });
    } catch (error) {
      candidate.giveUp(image, this.#source.unload);
      throw error;
    }
  }

  /** The commit: from here on every bound function runs `next`, or, if this throws, what it ran before. */
  #commit(next: Loaded): readonly string[] {
    const missing = this.#table.commit(next.image);
    this.#current = next;
    this.#generation = next.info.generation;
    return missing;
  }

  /** Loads the previous image again, after the loader refused the next one, and says so in the error. */
  #restore(previous: Loaded, cause: unknown): unknown {
    if (!(cause instanceof SoError)) return cause;
    try {
      const { candidate, info } = previous;
      const stayed = native.isLoaded(previous.image.loaderName);
      const image = stayed
        ? candidate.reopen(previous.image, info.generation)
        : candidate.openPrivately(info.generation);
      this.#commit({ image, candidate, info: candidate.describe(image, info.generation) });
      const state = stayed ? 'as it was' : 'and its static state began anew';
      return cause.with(`the previous image was loaded again, ${state}`, { rolledBack: true });
    } catch (error) {
      return cause.with(`the previous image could not be loaded again: ${error}`);
    }
  }

  /**
   * Swaps whenever the file at {@link path} has been replaced and is complete, whatever replaced it: once for each
   * replacement. Its outcome is told by the events `swap` and `refused`; a refusal that nobody listens to is a warning
   * of the process. A file that somebody is still writing is waited for; a refused one is tried again when it has
   * changed. It does not keep the process alive, and ends with {@link close}.
   *
   * The kernel tells of changes that are made on this machine: what another one does to a network file system is seen
   * with the next change that is made here.
   *
   * @returns The watch, to close it before the handle.
   * @throws {SoError} `ERR_SOSWAP_CLOSED`.
   * @throws {TypeError | RangeError} A wrong option: `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`.
   *
   * @example
   * const watch = price.watch({ swap: { order: 'open-first' } });
   * // …
   * watch.close();
   */
  watch(options: WatchOptions<D> = {}): Watch {
    this.#open();
    checkOptions(options);
    const persistent = flag('options.persistent', options.persistent);
    const settle = milliseconds('options.settle', options.settle, 50);
    planSwap(options.swap ?? {}, this.#source.unload);
    const watch = watchFile(
      {
        path: this.path,
        swapIfReplaced: () => this.#lineUpIfReplaced(options.swap ?? {}),
        told: (report) => this.#told(report),
        refused: (error) => {
          warnIfUnheard(this, error);
          this.#refused(error);
        },
        ended: (watch) => this.#watches.delete(watch),
      },
      { settle, persistent },
    );
    this.#watches.add(watch);
    return watch;
  }

  /**
   * Closes the library. Bound functions throw `ERR_SOSWAP_CLOSED` from now on. Closing again does nothing.
   *
   * @throws {SoError} `ERR_SOSWAP_BUSY` while a call is in flight; the handle stays open.
   *
   * @example
   * price.close();
   */
  close(): void {
    const last = this.#current;
    if (last === undefined) return;
    this.#assertIdle();
    this.#current = undefined;
    this.#table.close();
    for (const watch of this.#watches) watch.close();
    removeHandle(this);
    last.candidate.giveUp(last.image, this.#source.unload);
    last.candidate.release();
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

  #open(): Loaded {
    if (this.#current !== undefined) return this.#current;
    throw new SoError('ERR_SOSWAP_CLOSED', `the handle of '${this.path}' is closed`, this.path);
  }

  /** The image to look symbols up in. */
  #loaded(): Image {
    const { image } = this.#open();
    if (image.open) return image;
    throw new SoError('ERR_SOSWAP_NOT_LOADED', `'${this.path}' has no image now`, this.path);
  }

  #assertIdle(): void {
    const calls = this.#open().image.callsInFlight;
    if (calls > 0) throw this.#busy(`${calls} call(s) in flight`);
    if (this.#phase === 'exchanging') throw this.#busy('it is between two images');
  }

  #busy(reason: string): SoError {
    return new SoError('ERR_SOSWAP_BUSY', `'${this.path}' is busy: ${reason}`, this.path);
  }

  /** Refuses what is sure to go wrong later, while nothing has changed. */
  #assertReplaceable(plan: SwapPlan<D>): void {
    const previous = this.#open();
    this.#assertRoom(previous, plan);
    if (this.#source.direct) this.#assertDirectlyReplaceable(previous, plan);
  }

  #assertRoom({ image, candidate }: Loaded, { unload }: SwapPlan<D>): void {
    const coming = candidate.stays(unload)
      ? { images: 1, bytes: image.memorySize }
      : { images: 0, bytes: 0 };
    this.#source.retained.assertRoomFor(coming);
  }

  /** In direct mode the old image must go before its name can be opened. */
  #assertDirectlyReplaceable({ info, candidate }: Loaded, { order, unload }: SwapPlan<D>): void {
    const holders = [...openHandles()].filter(({ image }) => image?.mappedFrom === info.mappedFrom);
    const reasons = [...candidate.reasonsToKeep(unload)];
    if (holders.length > 1) {
      const detail = `${holders.length - 1} other handle(s) of this thread have it open`;
      reasons.push({ code: 'opened-elsewhere', detail });
    }
    if (order === 'open-first') {
      reasons.push({ code: 'opened-elsewhere', detail: 'open-first keeps it open meanwhile' });
    }
    if (reasons.length > 0) throw this.#stillLoaded(reasons);
  }

  #stillLoaded(reasons: readonly RetainReason[]): SoError {
    const why = reasons.map(({ detail }) => detail).join('; ');
    return new SoError(
      'ERR_SOSWAP_STILL_LOADED',
      `cannot swap '${this.path}': dlopen(3) would return the old image, which stays loaded: ${why}. ` +
        "With image: 'snapshot' the new code takes effect all the same",
      this.path,
    );
  }
}
