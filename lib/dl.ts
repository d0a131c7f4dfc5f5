/**
 * The raw calls of dlopen(3). They are unsafe: a wrong handle, a wrong address, a wrong signature, and a call of a
 * function in an unmapped library crash the process. Use them for cases that `SoHandle` does not cover, for tests and
 * for measurements.
 *
 * @module soswap/dl
 */

import { checkSymbolName, copyDefinition, encodeSignature } from './call/signature.js';
import type { Definition, FunctionFor } from './call/types.js';
import { dlopenFlags } from './internal/dlopen-flags.js';
import { argumentTypeError, argumentValueError } from './internal/errors.js';
import { native } from './native/addon.js';
import type { BoundFunction } from './native/types.js';

export { dlopenFlags as constants };

/**
 * Loads a shared object with dlopen(3). Its constructors run on this thread.
 *
 * @param path A path or a bare name; `null` for the main program.
 * @param flags Flags of {@link constants}, combined with `|`. Defaults to `RTLD_NOW`.
 * @returns The handle. Opening a loaded object again returns the same handle; close it as often as it was opened.
 * @throws {SoError} `ERR_SOSWAP_LOADER`: dlopen(3) failed. The message contains the text of dlerror(3).
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`: `path` or `flags` has the wrong type.
 *
 * @example
 * const handle = dlopen('libm.so.6', constants.RTLD_NOW | constants.RTLD_LOCAL);
 */
export function dlopen(path: string | null, flags: number = dlopenFlags.RTLD_NOW): bigint {
  if (path !== null && (typeof path !== 'string' || path.includes('\0'))) {
    throw argumentTypeError('path', 'a string without null bytes, or null', path);
  }
  if (!Number.isInteger(flags) || flags !== (flags | 0)) {
    throw argumentTypeError('flags', 'a 32-bit integer', flags);
  }
  return native.dlopen(path, flags);
}

/**
 * Looks up the address of a symbol with dlsym(3).
 *
 * @param handle A handle from {@link dlopen}. A closed handle crashes the process.
 * @param symbol The name of the symbol.
 * @returns The address. It is invalid after the object was unmapped.
 * @throws {SoError} `ERR_SOSWAP_MISSING_SYMBOL`: the symbol is absent. The message contains the text of dlerror(3).
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`: an argument is wrong.
 *
 * @example
 * const address = dlsym(dlopen('libm.so.6'), 'cos');
 */
export function dlsym(handle: bigint, symbol: string): bigint {
  checkAddress('handle', handle);
  checkSymbolName(symbol);
  return native.dlsym(handle, symbol);
}

/**
 * Closes a handle with dlclose(3).
 *
 * @param handle A handle from {@link dlopen}. A closed handle crashes the process.
 * @returns The result of dlclose(3): 0 on success, whether or not the object was unmapped.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`: `handle` is not a handle.
 *
 * @example
 * const handle = dlopen('libm.so.6');
 * dlclose(handle);
 */
export function dlclose(handle: bigint): number {
  checkAddress('handle', handle);
  return native.dlclose(handle);
}

/**
 * Creates a function that calls the code at `address`. The function does not follow swaps and does not keep the library
 * loaded: a call after the library was unmapped crashes the process.
 *
 * @param address The address of a function, from {@link dlsym} or from {@link soswap!SoHandle.getSymbol}.
 * @param signature The signature of the function. `optional` has no effect here.
 * @returns The function. It checks its arguments as bound functions do.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`: an argument is wrong.
 *
 * @example
 * const cos = functionAt(dlsym(dlopen('libm.so.6'), 'cos'), { arguments: ['float64'], return: 'float64' });
 * console.log(cos(0)); // 1
 */
export function functionAt<const S extends Definition>(
  address: bigint,
  signature: S,
): NonNullable<FunctionFor<S>> {
  checkAddress('address', address);
  const name = `0x${address.toString(16)}`;
  const encoded = encodeSignature(name, copyDefinition(name, signature));
  const call: BoundFunction = native.functionAt(address, name, encoded);
  return call as NonNullable<FunctionFor<S>>;
}

function checkAddress(name: string, value: unknown): void {
  if (typeof value !== 'bigint') throw argumentTypeError(name, 'a bigint', value);
  if (value <= 0n || value >= 2n ** 64n) {
    throw argumentValueError(name, 'must be from 1 to 2^64 - 1', value);
  }
}
