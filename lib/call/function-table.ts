import { argumentValueError } from '../internal/errors.js';
import { native } from '../native/addon.js';
import type { BoundFunction, NativeLibrary, NativeSlots } from '../native/types.js';
import { fastCall } from './fast-call.js';
import { References } from './references.js';
import { encodeSignature, signatureKey } from './signature.js';
import type { BoundFunctions, Definition, Definitions } from './types.js';

interface Binding {
  readonly call: BoundFunction;
  readonly key: string;
  readonly optional: boolean;
}

/** The bound functions of one path. All of them point into one image. */
export class FunctionTable<D extends Definitions = Definitions> {
  readonly functions: BoundFunctions<D> = Object.create(null);
  /** What code refers to that calls symbols by their addresses. */
  readonly references: References;

  readonly #path: string;
  readonly #slots: NativeSlots;
  readonly #bindings = new Map<string, Binding>();
  readonly #holders = new Set<object>();
  /** Every function is published, and the last image has all of them. */
  #complete = false;

  /** Binds the functions, of copied definitions. Calls throw until the first exchange. */
  constructor({ path, library }: { path: string; library: NativeLibrary }, definitions: D) {
    this.#path = path;
    this.#slots = new native.Slots(path, library);
    this.references = new References(this.#slots);
    for (const [symbol, definition] of Object.entries(definitions)) this.bind(symbol, definition);
  }

  /**
   * Returns the function of that name and signature, and creates it if it does not exist.
   *
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE`: the name is bound with another signature.
   */
  bind(symbol: string, definition: Definition): BoundFunction {
    const key = signatureKey(symbol, definition);
    const bound = this.#bindings.get(symbol);
    if (bound?.key === key) return bound.call;
    if (bound !== undefined) {
      throw argumentValueError(
        'definition',
        `must have the signature that ${symbol} is bound with`,
        key,
      );
    }
    const optional = definition.optional ?? false;
    const signature = encodeSignature(symbol, definition);
    const slow = this.#slots.bind(symbol, signature, optional);
    const target = { path: this.#path, symbol, address: () => this.#slots.boundTarget() };
    const call = fastCall(slow, signature, definition.leaf, target);
    this.#bindings.set(symbol, { call, key, optional });
    this.#complete = false;
    return call;
  }

  /** The bound functions in the addon. */
  get slots(): NativeSlots {
    return this.#slots;
  }

  /** Yields every bound function. */
  *calls(): Generator<BoundFunction> {
    for (const { call } of this.#bindings.values()) yield call;
  }

  /**
   * Updates `functions` after an exchange.
   *
   * @param absent The optional symbols that the new image lacks.
   */
  publishAll(absent: readonly string[]): void {
    if (this.#complete && absent.length === 0) return;
    const lacking = new Set(absent);
    for (const [symbol, { call }] of this.#bindings) {
      // `functions` has null for an absent symbol. A function that the program keeps throws instead.
      const published = this.functions[symbol];
      if (published === call || (published === null && lacking.has(symbol))) continue;
      this.publish(symbol, lacking.has(symbol) ? null : call);
    }
    this.#complete = absent.length === 0;
  }

  /** Sets one property of `functions`. */
  publish(symbol: string, value: BoundFunction | null): void {
    // Not Object.defineProperty(): a program may have frozen the object, which must not fail a swap.
    Reflect.defineProperty(this.functions, symbol, { value, enumerable: true, configurable: true });
  }

  /** Makes every later call throw `ERR_SOSWAP_CLOSED`. */
  close(): void {
    this.#slots.close();
  }

  /** Makes new calls that can wait do so until every holder has called {@link release}. */
  hold(holder: object): void {
    this.#holders.add(holder);
    this.#slots.hold();
    this.references.hold();
  }

  /** Starts the calls that wait, or refuses them if the table is closed. */
  release(holder: object): void {
    if (!this.#holders.delete(holder) || this.#holders.size > 0) return;
    this.#slots.release();
    this.references.release();
  }

  /** Resolves when the next call has settled that is not blocking. */
  nextSettled(): Promise<void> {
    return this.#slots.nextSettled();
  }
}
