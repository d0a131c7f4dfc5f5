import { once } from 'node:events';
import { missingSymbols } from '../image/candidate.js';
import type { Image } from '../image/image.js';
import { argumentValueError } from '../internal/errors.js';
import { longestTimer } from '../internal/options.js';
import {
  type BoundFunction,
  type NativeLibrary,
  type NativeSlots,
  native,
} from '../native/addon.js';
import {
  type BoundFunctions,
  checkDefinitions,
  type Definition,
  type Definitions,
  encodeSignature,
  signatureKey,
} from './signature.js';

interface Binding {
  readonly call: BoundFunction;
  readonly key: string;
  readonly optional: boolean;
}

/** The bound functions of one path, and the one image that all of them point into. */
export class FunctionTable<D extends Definitions = Definitions> {
  readonly functions: BoundFunctions<D> = Object.create(null);

  readonly #path: string;
  readonly #slots: NativeSlots;
  readonly #bindings = new Map<string, Binding>();
  /** Every function is published, and was there at the last commit. */
  #complete = false;

  /** Binds the functions; they can be called after the first commit. */
  constructor(path: string, library: NativeLibrary, definitions: D) {
    checkDefinitions(definitions);
    this.#path = path;
    this.#slots = new native.Slots(path, library);
    for (const [symbol, definition] of Object.entries(definitions)) this.bind(symbol, definition);
  }

  /** The function of that name and signature, a new one if there is none. */
  bind(symbol: string, definition: Definition): BoundFunction {
    const key = signatureKey(symbol, definition);
    const bound = this.#bindings.get(symbol);
    if (bound?.key === key) return bound.call;
    if (bound !== undefined) {
      throw argumentValueError('definition', `must be the one that ${symbol} is bound with`, key);
    }
    const optional = definition.optional ?? false;
    const call = this.#slots.bind(symbol, encodeSignature(symbol, definition), optional);
    this.#bindings.set(symbol, { call, key, optional });
    this.#complete = false;
    return call;
  }

  /** What the addon knows the bound functions by. */
  get slots(): NativeSlots {
    return this.#slots;
  }

  /** Every bound function. */
  *calls(): Generator<BoundFunction> {
    for (const { call } of this.#bindings.values()) yield call;
  }

  /**
   * Points every function at `image`. Returns the optional symbols that it lacks; throws, with the functions
   * as they were, if it lacks a required one.
   */
  commit(image: Image): readonly string[] {
    const { missing, absent } = this.#slots.commit(image.id);
    if (missing.length > 0) throw missingSymbols(this.#path, missing);
    if (this.#complete && absent.length === 0) return absent;
    const lacking = new Set(absent);
    for (const [symbol, { call }] of this.#bindings) {
      // Where there was no symbol there is null; a function that was given out stays one.
      const published = this.functions[symbol];
      if (published === call || (published === null && lacking.has(symbol))) continue;
      this.publish(symbol, lacking.has(symbol) ? null : call);
    }
    this.#complete = absent.length === 0;
    return absent;
  }

  publish(symbol: string, value: BoundFunction | null): void {
    Object.defineProperty(this.functions, symbol, { value, enumerable: true, configurable: true });
  }

  /** Points every function at nothing: until the next commit calls throw `ERR_SOSWAP_NOT_LOADED`. */
  detach(): void {
    this.#slots.detach();
  }

  /** For ever calls throw `ERR_SOSWAP_CLOSED`. */
  close(): void {
    this.#slots.close();
  }

  /** Nonblocking calls made from now on wait for {@link release}. */
  hold(): void {
    this.#slots.hold();
  }

  release(): void {
    this.#slots.release();
  }

  /**
   * Waits until no call is in flight in `image`.
   *
   * @param timeout Milliseconds.
   * @returns Whether it came to that in time.
   */
  async idle(image: Image, timeout = longestTimer): Promise<boolean> {
    if (image.callsInFlight === 0) return true;
    const expiry = new AbortController();
    const timer = setTimeout(() => expiry.abort(), Math.min(timeout, longestTimer));
    const expired = once(expiry.signal, 'abort');
    while (image.callsInFlight > 0 && !expiry.signal.aborted) {
      await Promise.race([this.#slots.nextSettled(), expired]);
    }
    clearTimeout(timer);
    return image.callsInFlight === 0;
  }
}
