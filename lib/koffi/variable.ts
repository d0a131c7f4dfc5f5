import koffi from 'koffi';
import type { SymbolReference, SymbolReferenceOptions } from '../call/symbol-reference.js';
import type { SoHandle } from '../handle/so-handle.js';
import { argumentTypeError } from '../internal/errors.js';
import { checkHandle } from './handle.js';
import { isType } from './prototypes.js';
import type { KoffiType, ResultOf } from './types.js';

/**
 * A variable that a library exports: after a swap, that of the new image, with the value that it has there.
 *
 * @typeParam T The type of the value.
 */
export class KoffiVariable<T> {
  readonly #reference: SymbolReference;
  readonly #type: KoffiType;

  /** @internal */
  constructor(reference: SymbolReference, type: KoffiType) {
    this.#reference = reference;
    this.#type = type;
  }

  /** The address in the current image; invalid after the next swap. */
  get address(): bigint {
    return this.#reference.address;
  }

  /**
   * The value. koffi.decode() reads it, and koffi.encode() writes it; koffi keeps the memory of a string that was written.
   *
   * @throws {SoError} `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_NOT_LOADED`, `ERR_SOSWAP_MISSING_SYMBOL`. And what koffi throws.
   */
  get value(): T {
    return koffi.decode(this.address, this.#type);
  }

  /** Writes the value. */
  set value(value: T) {
    // Counted as a call: koffi may read a property that swaps.
    this.#reference.call((address) => koffi.encode(address, this.#type, value));
  }
}

/**
 * Refers to a variable that a library exports.
 *
 * @param handle The handle.
 * @param symbol The name of the variable.
 * @param type Its type, as koffi.decode() takes it. TypeScript infers the type of the value from the name of a scalar.
 * @param options Whether the library may lack it.
 * @throws {SoError} `ERR_SOSWAP_MISSING_SYMBOL` unless `optional`, `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_NOT_LOADED`.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`. And what koffi.type() throws.
 *
 * @example
 * const discount = koffiVariable(price, 'discount', 'double', { optional: true });
 * if (price.symbolReference('discount', { optional: true }).present) discount.value = 0.5;
 */
export function koffiVariable<const Name extends string>(
  handle: SoHandle,
  symbol: string,
  type: Name,
  options?: SymbolReferenceOptions,
): KoffiVariable<ResultOf<Name>>;
export function koffiVariable<T>(
  handle: SoHandle,
  symbol: string,
  type: KoffiType,
  options?: SymbolReferenceOptions,
): KoffiVariable<T>;
export function koffiVariable(
  handle: SoHandle,
  symbol: string,
  type: KoffiType,
  options: SymbolReferenceOptions = {},
): KoffiVariable<unknown> {
  checkHandle(handle);
  if (typeof type !== 'string' && !isType(type)) {
    throw argumentTypeError('type', 'a type of koffi', type);
  }
  const resolved = koffi.type(type);
  return new KoffiVariable(handle.symbolReference(symbol, options), resolved);
}
