import { argumentTypeError } from '../internal/errors.js';
import { isThenable } from '../internal/thenable.js';
import type { NativeNumber } from '../native/types.js';
import { compiled } from './compiled.js';
import type { References } from './references.js';

type Call = (...values: unknown[]) => unknown;

/** The options of `symbolReference()`. */
export interface SymbolReferenceOptions {
  /**
   * A symbol that the library may lack: `address` then throws `ERR_SOSWAP_MISSING_SYMBOL`. A candidate that lacks a symbol
   * which is not optional is refused before anything is closed. Defaults to `false`.
   */
  readonly optional?: boolean | undefined;
}

/**
 * A symbol of a handle, for code that calls it by its address: another FFI. Its calls count as in flight, as those of
 * bound functions do: `close-first` waits for them, and `open-first` unmaps the old image after them. Belongs to the
 * thread of the handle, which stays open as long as the reference can be reached.
 *
 * @example
 * const quote = price.symbolReference('quote');
 * console.log(quote.call((address) => address === price.getSymbol('quote'))); // true
 */
export class SymbolReference {
  /** The name of the symbol. */
  readonly symbol: string;
  /** Whether the library may lack the symbol. */
  readonly optional: boolean;

  readonly #references: References;
  readonly #slot: number;
  /** What {@link enter} returned and nobody has left. */
  readonly #entered: EnteredCall[] = [];

  /** @internal */
  constructor(symbol: string, optional: boolean, references: References) {
    this.symbol = symbol;
    this.optional = optional;
    this.#references = references;
    this.#slot = references.slotOf(symbol, optional);
  }

  /**
   * The address in the current image. After the next swap it is invalid, so a call through it must be counted: by
   * {@link call}, {@link callAsync}, {@link bind} or {@link enter}.
   *
   * @throws {SoError} `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_NOT_LOADED`, `ERR_SOSWAP_MISSING_SYMBOL`.
   */
  get address(): bigint {
    return this.#references.addressOf(this.#slot);
  }

  /** Whether there is an address now: the handle is open, it has an image, and the image has the symbol. */
  get present(): boolean {
    return this.#references.has(this.#slot);
  }

  /**
   * Returns a function that follows swaps: it calls what `make` made of the current address, and counts each call as in
   * flight until it returns. `make` runs at the first call of each image, not at each call. The cheapest way to call.
   *
   * @typeParam F The type of the function.
   * @param make Makes a function of an address that blocks until the C function has returned.
   * @returns The function. It throws as {@link address} does.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`: `make` is no function, or returns none; the latter from the call.
   *
   * @example
   * const reference = price.symbolReference('quote');
   * const quote = reference.bind((address) =>
   *   functionAt(address, { arguments: ['float64', 'uint32'], return: 'float64' }),
   * );
   * console.log(quote(101.5, 2)); // 203
   */
  bind<F extends (...values: never[]) => unknown>(make: (address: bigint) => F): F;
  /**
   * @internal
   * @param counts How many arguments a call usually has; such a call costs less.
   */
  bind(make: (address: bigint) => Call, counts?: readonly number[]): Call;
  bind(make: (address: bigint) => Call, counts?: readonly number[]): Call {
    if (typeof make !== 'function') throw argumentTypeError('make', 'a function', make);
    const references = this.#references;
    const { changes } = references;
    /** Returns what is good as long as `changes` is the first of it. */
    const renew = (): [version: number, target: Call, calls: NativeNumber] => {
      for (;;) {
        const version = changes[0];
        const { address } = this;
        const { calls } = references;
        const target: unknown = make(address); // may swap
        if (typeof target !== 'function') throw argumentTypeError('make()', 'a function', target);
        if (version === changes[0]) return [version, target as Call, calls];
      }
    };
    const text = (parameters: string, call: string) => `
      let version = -1, target, calls;
      return function (${parameters}) {
        if (changes[0] !== version) [version, target, calls] = renew();
        const counted = calls;
        counted[0]++;
        try { ${call} } finally { counted[0]--; }
      };`;
    return (counts && compiled(counts, text, { changes, renew })) ?? following(changes, renew);
  }

  /**
   * Calls `fn` with the current address. If it returns a promise, the call is in flight until that has settled.
   *
   * @returns What `fn` returns.
   * @throws {SoError} As {@link address}. And whatever `fn` throws.
   *
   * @example
   * const isMapped = price.symbolReference('quote').call((address) => address > 0n);
   */
  call<T>(fn: (address: bigint) => T): T {
    return this.#run(this.#begin(), fn);
  }

  /**
   * The same where the caller can wait, as nonblocking calls do: while a `close-first` swap waits for calls in flight, `fn`
   * is not called before the new image runs. Otherwise it is called before this returns.
   *
   * @returns What `fn` returns or resolves with. Rejects as {@link call} throws.
   *
   * @example
   * await price.symbolReference('quote').callAsync(async (address) => address);
   */
  callAsync<T>(fn: (address: bigint) => T | PromiseLike<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const waits = this.#references.held;
      this.#references.whenReleased(() => {
        try {
          const call = this.#begin();
          const run = () => resolve(this.#run(call, fn));
          // A swap releases in the middle of its work, which no code of the program may see.
          if (waits) Promise.resolve().then(run).catch(reject);
          else run();
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  /**
   * Counts a call as in flight from now on, for code that cannot use {@link call}. A call that nobody leaves is in flight
   * for ever: `close-first` swaps and `close()` fail with `ERR_SOSWAP_BUSY`, and `open-first` swaps retain the old image
   * with the reason `calls-in-flight`.
   *
   * @returns The call, whose `leave()` ends it.
   * @throws {SoError} As {@link address}.
   *
   * @example
   * const quote = price.symbolReference('quote');
   * const call = quote.enter();
   * try {
   *   console.log(call.address === quote.address); // true
   * } finally {
   *   call.leave();
   * }
   */
  enter(): EnteredCall {
    const call = this.#begin(this.#entered);
    this.#entered.push(call);
    return call;
  }

  /**
   * Leaves the call that was entered last and has not been left. Calls that do not nest are left by what {@link enter}
   * returned.
   *
   * @throws {Error} `ERR_INVALID_STATE`: no call is left to leave. Nothing has changed.
   *
   * @example
   * const quote = price.symbolReference('quote');
   * quote.enter();
   * quote.leave();
   */
  leave(): void {
    const call = this.#entered.at(-1);
    if (call === undefined) throw notEntered(this.symbol);
    call.leave();
  }

  /**
   * Calls `listener` after each change of the address: a swap, a swap that failed and loaded the old image anew, or
   * `close()`. It runs before `swap()` and `close()` report, and can call functions of the library, but not swap or
   * close it. What it throws is an uncaught exception.
   *
   * @param listener Gets the address; `undefined` if there is none now.
   * @returns A function that ends the subscription.
   *
   * @example
   * const quote = price.symbolReference('quote');
   * let { address } = quote;
   * const unsubscribe = quote.subscribe((now) => (address = now ?? 0n));
   * await price.swap();
   * console.log(address === quote.address); // true
   * unsubscribe();
   */
  subscribe(listener: (address: bigint | undefined) => void): () => void {
    if (typeof listener !== 'function') throw argumentTypeError('listener', 'a function', listener);
    return this.#references.subscribe(() => listener(this.present ? this.address : undefined));
  }

  #begin(among: EnteredCall[] = []): EnteredCall {
    return new EnteredCall(this.address, this.symbol, this.#references, among);
  }

  #run<T>(call: EnteredCall, fn: (address: bigint) => T): T {
    let result: T;
    try {
      result = fn(call.address);
    } catch (error) {
      call.leave();
      throw error;
    }
    if (isThenable(result)) return Promise.resolve(result).finally(() => call.leave()) as T;
    call.leave();
    return result;
  }
}

/** A call that is in flight until {@link EnteredCall.leave}. */
export class EnteredCall {
  /** The address in the image that was entered, which stays mapped until the call is left. */
  readonly address: bigint;

  readonly #symbol: string;
  readonly #references: References;
  readonly #calls: NativeNumber;
  readonly #among: EnteredCall[];
  #left = false;

  /**
   * @internal
   * @param among The list that it is in, if any.
   */
  constructor(address: bigint, symbol: string, references: References, among: EnteredCall[]) {
    this.address = address;
    this.#symbol = symbol;
    this.#references = references;
    this.#among = among;
    this.#calls = references.calls;
    this.#calls[0]++;
  }

  /**
   * Ends the call.
   *
   * @throws {Error} `ERR_INVALID_STATE`: it was left before. Nothing has changed.
   *
   * @example
   * const call = price.symbolReference('quote').enter();
   * call.leave();
   */
  leave(): void {
    if (this.#left) throw notEntered(this.#symbol);
    this.#left = true;
    this.#calls[0]--;
    const index = this.#among.lastIndexOf(this);
    if (index >= 0) this.#among.splice(index, 1);
    this.#references.settled();
  }

  /**
   * As {@link leave}, at the end of the block, unless the call was left before.
   *
   * @example
   * using call = price.symbolReference('quote').enter();
   * console.log(call.address > 0n); // true
   */
  [Symbol.dispose](): void {
    if (!this.#left) this.leave();
  }
}

/** The same function as in the text above, for any number of arguments. */
function following(
  changes: NativeNumber,
  renew: () => [version: number, target: Call, calls: NativeNumber],
): Call {
  let version = -1;
  let target: Call;
  let calls: NativeNumber;
  return (...values) => {
    if (changes[0] !== version) [version, target, calls] = renew();
    const counted = calls;
    counted[0]++;
    try {
      return target(...values);
    } finally {
      counted[0]--;
    }
  };
}

function notEntered(symbol: string): Error {
  const error = new Error(
    `cannot leave ${symbol}: every call of it that was entered has been left`,
  );
  return Object.assign(error, { code: 'ERR_INVALID_STATE' });
}
