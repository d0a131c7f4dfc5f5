import { argumentValueError } from '../internal/errors.js';
import { native } from '../native/addon.js';
import type { BoundFunction, NativeLibrary, NativeSlots } from '../native/types.js';
import { checkDefinitions, encodeSignature, signatureKey } from './signature.js';
import type { BoundFunctions, Definition, Definitions } from './types.js';

interface Binding {
  readonly call: BoundFunction;
  readonly key: string;
  readonly optional: boolean;
}

/** The bound functions of one path, and the one image that all of them point into. */
export class FunctionTable<D extends Definitions = Definitions> {
  readonly functions: BoundFunctions<D> = Object.create(null);

  readonly #slots: NativeSlots;
  readonly #bindings = new Map<string, Binding>();
  /** Every function is published, and was there at the last exchange. */
  #complete = false;

  /** Binds the functions; they can be called after the first exchange. */
  constructor({ path, library }: { path: string; library: NativeLibrary }, definitions: D) {
    checkDefinitions(definitions);
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
   * Puts every function into `functions`, after an exchange.
   *
   * @param absent The optional symbols that the new image lacks.
   */
  publishAll(absent: readonly string[]): void {
    if (this.#complete && absent.length === 0) return;
    const lacking = new Set(absent);
    for (const [symbol, { call }] of this.#bindings) {
      // An absent symbol has null; a function that a program already got stays a function.
      const published = this.functions[symbol];
      if (published === call || (published === null && lacking.has(symbol))) continue;
      this.publish(symbol, lacking.has(symbol) ? null : call);
    }
    this.#complete = absent.length === 0;
  }

  publish(symbol: string, value: BoundFunction | null): void {
    Object.defineProperty(this.functions, symbol, { value, enumerable: true, configurable: true });
  }

  /** Makes every call throw `ERR_SOSWAP_CLOSED` for ever. */
  close(): void {
    this.#slots.close();
  }

  /** Makes nonblocking calls from now on wait for {@link release}. */
  hold(): void {
    this.#slots.hold();
  }

  /** Begins the calls that wait. */
  release(): void {
    this.#slots.release();
  }

  /** Resolves when the next nonblocking call has settled. */
  nextSettled(): Promise<void> {
    return this.#slots.nextSettled();
  }
}
