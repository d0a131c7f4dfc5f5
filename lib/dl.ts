/**
 * The raw calls of dlopen(3), thin and unsafe: a handle, an address or a signature that is wrong crashes the
 * process, a function of an unmapped library too. Here to show the hazards, to measure, and for what
 * `SoHandle` does not cover.
 *
 * @module soswap/dl
 */

import { checkDefinitions, checkSymbolName, encodeSignature } from './call/signature.js';
import type { Definition, FunctionFor } from './call/types.js';
import { dlopenFlags } from './internal/dlopen-flags.js';
import { argumentTypeError } from './internal/errors.js';
import { native } from './native/addon.js';
import type { BoundFunction } from './native/types.js';

export { dlopenFlags as constants };

/**
 * Loads a shared object, as dlopen(3).
 *
 * @param path A path or a bare name; `null` is the main program.
 * @param flags Of {@link constants}, combined with `|`. Default `RTLD_NOW`.
 * @returns The handle. The same object gives the same handle, and must be closed as often as it was opened.
 * @throws {SoError} `ERR_SOSWAP_LOADER` with the text of dlerror(3).
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`
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
 * The address of a symbol, as dlsym(3).
 *
 * @param handle Of {@link dlopen}; a closed one crashes the process.
 * @param symbol Its name.
 * @returns The address. It is dead when the object is unmapped.
 * @throws {SoError} `ERR_SOSWAP_MISSING_SYMBOL` with the text of dlerror(3).
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`
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
 * Closes a handle, as dlclose(3).
 *
 * @param handle Of {@link dlopen}; a closed one crashes the process.
 * @returns What dlclose(3) returns. 0 proves nothing: it comes whether or not anything was unmapped.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`
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
 * A function that calls whatever is at `address` at that moment. It follows no swap, and nothing keeps what it calls
 * loaded.
 *
 * @param address Of a function, from {@link dlsym} or from {@link soswap!SoHandle.getSymbol}.
 * @param signature Its signature; `optional` means nothing here.
 * @returns The function. It checks its arguments as bound functions do.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`
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
  checkDefinitions({ [name]: signature });
  const call: BoundFunction = native.functionAt(address, name, encodeSignature(name, signature));
  return call as NonNullable<FunctionFor<S>>;
}

function checkAddress(name: string, value: unknown): void {
  if (typeof value !== 'bigint' || value <= 0n || value >= 2n ** 64n) {
    throw argumentTypeError(name, 'a bigint from 1 to 2^64 - 1', value);
  }
}
