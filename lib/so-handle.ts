import { statSync } from 'node:fs';
import { Candidate, type Loading, missingSymbols } from './candidate.js';
import { dlopenFlags } from './dlopen-flags.js';
import { argumentValueError, SoError } from './errors.js';
import { libraryPath } from './library-path.js';
import { type BoundFunction, type NativeImage, type NativeSlots, native } from './native.js';
import { addHandle, keepAlive, openHandles, removeHandle } from './open-handles.js';
import { checkOptions, oneOf } from './options.js';
import type { ImageInfo, RetainReason, SwapOrder, SwapReport } from './report.js';
import { retainReasons } from './retain-reasons.js';
import {
  type BoundFunctions,
  checkDefinitions,
  checkSymbolName,
  type Definition,
  type Definitions,
  encodeSignature,
  type FunctionFor,
  signatureKey,
} from './signature.js';

/** How {@link SoHandle.open} loads the library, now and at every swap. */
export interface OpenOptions {
  /** `RTLD_LOCAL` (default) or `RTLD_GLOBAL` of dlopen(3). */
  readonly scope?: 'local' | 'global';
  /** `RTLD_NOW` (default) or `RTLD_LAZY` of dlopen(3). */
  readonly binding?: 'now' | 'lazy';
  /**
   * `snapshot`: a private sealed copy is mapped, and whatever happens to the file changes nothing before
   * the next swap. `direct`: the file itself is mapped, as dlopen(3) does; overwriting it in place can
   * then kill the process. `auto` (default) is `snapshot`.
   */
  readonly image?: 'auto' | 'snapshot' | 'direct';
}

/** How {@link SoHandle.swap} and {@link SoHandle.swapSync} go about it. */
export interface SwapOptions {
  /** Default `close-first`. */
  readonly order?: SwapOrder;
}

/** What the file at the handle's path is, beside the image that runs. */
export type FileStatus =
  /** The file that runs. */
  | 'current'
  /** Another file: the next swap takes it. */
  | 'replaced'
  /** The same file with other bytes: the next swap takes them. */
  | 'overwritten'
  /** No file. */
  | 'missing';

/** An image and the candidate that it was loaded from. */
interface Loaded {
  readonly image: NativeImage;
  readonly candidate: Candidate;
  readonly info: ImageInfo;
}

interface Binding {
  readonly call: BoundFunction;
  readonly key: string;
  readonly optional: boolean;
}

/**
 * One library path, its bound functions and its current image. Belongs to the thread that opened it.
 *
 * @example
 * const so = SoHandle.open('./libadd.so', { add: { arguments: ['int32', 'int32'], return: 'int32' } });
 * so.functions.add(2, 3);
 * await so.swap();        // the file was replaced: the same function runs the new code
 * so.close();
 */
export class SoHandle<D extends Definitions = Definitions> {
  /** The absolute path that every image is taken from. Symbolic links are followed anew at each swap. */
  readonly path: string;
  /** The bound functions. They may be kept for ever: each follows every swap. */
  readonly functions: BoundFunctions<D> = Object.create(null);

  readonly #loading: Loading;
  readonly #slots: NativeSlots;
  readonly #bindings = new Map<string, Binding>();
  #current: Loaded | undefined;
  #generation = 0;
  #swapping = false;
  #lastSwap: Promise<unknown> = Promise.resolve();

  /**
   * Loads the library and binds its functions.
   *
   * @param path A path, a `file:` URL, or a bare name (`libz.so.1`) that is looked up as dlopen(3) documents.
   * @throws {SoError} The file or a symbol is refused; nothing stays loaded.
   * @throws {TypeError} A wrong argument (`ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`).
   */
  static open<const D extends Definitions = Record<never, never>>(
    path: string | URL,
    definitions?: D,
    options: OpenOptions = {},
  ): SoHandle<D> {
    checkOptions(options);
    return new SoHandle(libraryPath(path), definitions ?? ({} as D), loadingOf(options));
  }

  private constructor(path: string, definitions: D, loading: Loading) {
    checkDefinitions(definitions);
    this.path = path;
    this.#loading = loading;
    this.#slots = new native.Slots(path);
    for (const [symbol, definition] of Object.entries(definitions)) this.#bind(symbol, definition);

    const candidate = Candidate.take(path, loading);
    try {
      candidate.requireSymbols(this.#requiredSymbols());
      this.#load(candidate, 1);
    } catch (error) {
      candidate.release();
      throw error;
    }
    addHandle(this);
  }

  /** 1 for the first image, one more with every swap. */
  get generation(): number {
    return this.#generation;
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.#current === undefined;
  }

  /** The image that runs, `null` after {@link close}. */
  get image(): ImageInfo | null {
    return this.#current?.info ?? null;
  }

  /**
   * Binds one more function. The same name and signature give the same function.
   *
   * @returns The function; `null` if the symbol is absent and the definition says `optional`.
   * @throws {SoError} `ERR_SOSWAP_MISSING_SYMBOL`, `ERR_SOSWAP_CLOSED`.
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if the name is bound with another signature.
   */
  getFunction<const S extends Definition>(symbol: string, definition: S): FunctionFor<S> {
    const { image } = this.#open();
    checkSymbolName(symbol);
    checkDefinitions({ [symbol]: definition });
    const key = signatureKey(symbol, definition);
    const bound = this.#bindings.get(symbol);
    if (bound !== undefined && bound.key !== key) {
      throw argumentValueError('definition', `must be the one that ${symbol} is bound with`, key);
    }
    const present = image.symbol(symbol) !== undefined;
    if (!present && !definition.optional) throw missingSymbols(this.path, [symbol]);
    const call = bound?.call ?? this.#bind(symbol, definition);
    if (present) this.#publish(symbol, call);
    return (present ? call : null) as FunctionFor<S>;
  }

  /**
   * The address of a symbol, as dlsym(3) finds it in the current image. It is dead after the next swap and
   * after {@link close}: whoever keeps it must ask again.
   *
   * @throws {SoError} `ERR_SOSWAP_MISSING_SYMBOL`, `ERR_SOSWAP_CLOSED`.
   */
  getSymbol(symbol: string): bigint {
    const { image } = this.#open();
    checkSymbolName(symbol);
    const address = image.symbol(symbol);
    if (address === undefined) throw missingSymbols(this.path, [symbol]);
    return address;
  }

  /**
   * What became of the file since the current image was taken from it.
   *
   * @throws {SoError} `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_UNREADABLE`.
   */
  status(): FileStatus {
    const { snapshot } = this.#open().candidate;
    const file = statFile(this.path);
    if (file === undefined) return 'missing';
    // A file system may give a new file the inode number of a removed one at once.
    const sameInode = file.dev === snapshot.device && file.ino === snapshot.inode;
    if (!sameInode || file.birthtimeNs > snapshot.ctimeNs) return 'replaced';
    const sameSize = file.size === BigInt(snapshot.size);
    if (!sameSize || file.mtimeNs !== snapshot.mtimeNs) return 'overwritten';
    if (file.ctimeNs === snapshot.ctimeNs) return 'current';
    // Its mode or links changed, or somebody wrote and put the time back: the bytes decide.
    const now = Candidate.take(this.path, this.#loading);
    try {
      return now.snapshot.sameBytesAs(snapshot) ? 'current' : 'overwritten';
    } finally {
      now.release();
    }
  }

  /**
   * Makes the file that is at {@link path} now take effect, in one go.
   *
   * @throws {SoError} The candidate is refused, and nothing changed; or, with `rolledBack`, the old image
   * was loaded anew because the loader failed after it was closed. `ERR_SOSWAP_BUSY` while a call is in flight.
   */
  swapSync(options: SwapOptions = {}): SwapReport {
    const started = process.hrtime.bigint();
    const order = orderOf(options);
    this.#assertIdle();
    return this.#exchange(Candidate.take(this.path, this.#loading), order, started);
  }

  /**
   * Makes the file that is at {@link path} now take effect. The copy is made and inspected off the main
   * thread. Swaps of one handle line up.
   *
   * @returns Rejects as {@link swapSync} throws.
   */
  async swap(options: SwapOptions = {}): Promise<SwapReport> {
    const started = process.hrtime.bigint();
    const order = orderOf(options);
    const swap = this.#lastSwap.then(async () => {
      this.#open();
      const candidate = await Candidate.takeAsync(this.path, this.#loading);
      this.#assertIdle();
      return this.#exchange(candidate, order, started);
    });
    this.#lastSwap = swap.catch(() => {});
    return swap;
  }

  /** The swap transaction. Up to the commit nothing has changed, or what has is taken back. */
  #exchange(candidate: Candidate, order: SwapOrder, started: bigint): SwapReport {
    const previous = this.#open();
    let paused = started;
    let unmapped = false;
    let missing: readonly string[];
    this.#swapping = true;
    try {
      candidate.requireSymbols(this.#requiredSymbols());
      this.#assertReplaceable(previous, order);
      paused = process.hrtime.bigint();
      if (order === 'close-first') unmapped = this.#retire(previous);
      missing = this.#load(candidate, this.#generation + 1);
    } catch (error) {
      candidate.release();
      throw previous.image.closed ? this.#restore(previous, error) : error;
    } finally {
      this.#swapping = false;
    }
    const { info } = this.#open();
    if (order === 'open-first') unmapped = previous.image.close();
    previous.candidate.release();
    return {
      path: this.path,
      generation: info.generation,
      order,
      previous: previous.info,
      current: info,
      unmapped,
      retained: unmapped ? [] : retainReasons(previous.candidate),
      missing,
      pauseMicroseconds: microsecondsSince(paused),
      totalMicroseconds: microsecondsSince(started),
    };
  }

  /** Closes the old image before the next one is opened. No function can be called until the commit. */
  #retire(previous: Loaded): boolean {
    this.#slots.detach();
    const unmapped = previous.image.close();
    if (!unmapped && this.#loading.direct) {
      throw this.#stillLoaded(retainReasons(previous.candidate));
    }
    return unmapped;
  }

  /** Opens the candidate and commits it. Throws with nothing of it left, and nothing committed. */
  #load(candidate: Candidate, generation: number): readonly string[] {
    const image = candidate.open();
    try {
      return this.#commit({ image, candidate, info: candidate.describe(image, generation) });
    } catch (error) {
      image.close();
      throw error;
    }
  }

  /**
   * The commit: from here on every bound function runs `next`. Returns the optional symbols that it lacks;
   * throws, with the functions as they were, if it lacks a required one.
   */
  #commit(next: Loaded): readonly string[] {
    const { missing, absent } = this.#slots.commit(next.image);
    if (missing.length > 0) throw missingSymbols(this.path, missing);
    this.#current = next;
    this.#generation = next.info.generation;
    for (const [symbol, { call }] of this.#bindings) {
      // Where there was no symbol there is null; a function that was given out stays one.
      if (!absent.includes(symbol)) this.#publish(symbol, call);
      else if (!(symbol in this.functions)) this.#publish(symbol, null);
    }
    return absent;
  }

  /** Loads the previous image again, after the loader refused the next one, and says so in the error. */
  #restore(previous: Loaded, cause: unknown): unknown {
    if (!(cause instanceof SoError)) return cause;
    try {
      const { candidate, info } = previous;
      const stayed = native.isLoaded(previous.image.loaderName);
      const image = stayed ? candidate.open() : candidate.openPrivately();
      this.#commit({ image, candidate, info: candidate.describe(image, info.generation) });
      const state = stayed ? 'as it was' : 'and its static state began anew';
      return cause.with(`the previous image was loaded again, ${state}`, { rolledBack: true });
    } catch (error) {
      return cause.with(`the previous image could not be loaded again: ${error}`);
    }
  }

  /**
   * Closes the library. Bound functions throw `ERR_SOSWAP_CLOSED` from now on. Closing again does nothing.
   *
   * @throws {SoError} `ERR_SOSWAP_BUSY` while a call is in flight; the handle stays open.
   */
  close(): void {
    const last = this.#current;
    if (last === undefined) return;
    this.#assertIdle();
    this.#current = undefined;
    this.#slots.close();
    removeHandle(this);
    last.image.close();
    last.candidate.release();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #open(): Loaded {
    if (this.#current !== undefined) return this.#current;
    throw new SoError('ERR_SOSWAP_CLOSED', `the handle of '${this.path}' is closed`, this.path);
  }

  #assertIdle(): void {
    this.#open();
    const calls = this.#slots.inFlight;
    if (calls === 0 && !this.#swapping) return;
    const reason = calls > 0 ? `${calls} call(s) in flight` : 'a swap is under way';
    throw new SoError('ERR_SOSWAP_BUSY', `'${this.path}' is busy: ${reason}`, this.path);
  }

  /** In direct mode the old image must go before its name can be opened: refuses what is sure to fail. */
  #assertReplaceable({ info }: Loaded, order: SwapOrder): void {
    if (!this.#loading.direct) return;
    const holders = [...openHandles()].filter(({ image }) => image?.mappedFrom === info.mappedFrom);
    if (holders.length > 1) {
      const detail = `${holders.length - 1} other handle(s) of this thread have it open`;
      throw this.#stillLoaded([{ code: 'opened-elsewhere', detail }]);
    }
    if (order === 'open-first') {
      const detail = 'open-first keeps it open meanwhile';
      throw this.#stillLoaded([{ code: 'opened-elsewhere', detail }]);
    }
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

  #requiredSymbols(): string[] {
    return [...this.#bindings].filter(([, { optional }]) => !optional).map(([symbol]) => symbol);
  }

  #bind(symbol: string, definition: Definition): BoundFunction {
    const optional = definition.optional ?? false;
    const call = this.#slots.bind(symbol, encodeSignature(symbol, definition), optional);
    this.#bindings.set(symbol, { call, key: signatureKey(symbol, definition), optional });
    keepAlive(call, this);
    return call;
  }

  #publish(symbol: string, value: BoundFunction | null): void {
    Object.defineProperty(this.functions, symbol, { value, enumerable: true, configurable: true });
  }
}

function loadingOf(options: OpenOptions): Loading {
  const scope = oneOf('options.scope', options.scope, ['local', 'global']);
  const binding = oneOf('options.binding', options.binding, ['now', 'lazy']);
  const image = oneOf('options.image', options.image, ['auto', 'snapshot', 'direct']);
  const { RTLD_GLOBAL, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW } = dlopenFlags;
  const mode =
    (scope === 'global' ? RTLD_GLOBAL : RTLD_LOCAL) | (binding === 'lazy' ? RTLD_LAZY : RTLD_NOW);
  return { mode, direct: image === 'direct' };
}

function orderOf(options: SwapOptions): SwapOrder {
  checkOptions(options);
  return oneOf('options.order', options.order, ['close-first', 'open-first']);
}

function statFile(path: string) {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (cause) {
    throw new SoError('ERR_SOSWAP_UNREADABLE', `cannot look at '${path}'`, path, undefined, {
      cause,
    });
  }
}

function microsecondsSince(start: bigint): number {
  return Number(process.hrtime.bigint() - start) / 1000;
}
