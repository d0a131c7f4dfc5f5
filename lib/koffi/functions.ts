import koffi, { type TypeObject } from 'koffi';
import type { SymbolReference } from '../call/symbol-reference.js';
import type { SoHandle } from '../handle/so-handle.js';
import { argumentTypeError, missingSymbols, SoError } from '../internal/errors.js';
import { guard, resultOf } from './callbacks.js';
import { countedCall } from './counted-call.js';
import { checkHandle } from './handle.js';
import { type Described, describe } from './prototypes.js';
import type {
  AnyCallable,
  KoffiFunctions,
  KoffiFunctionsOf,
  KoffiPrototype,
  KoffiPrototypes,
} from './types.js';

type Call = (...values: unknown[]) => unknown;

/** A function of koffi. `async` is absent if it is variadic. */
interface Native {
  (...values: unknown[]): unknown;
  readonly async?: (...values: unknown[]) => void;
  readonly info: { readonly arguments: readonly { readonly type: TypeObject }[] };
}

koffi.load(null); // koffi 3.3 crashes on a call if it has not loaded any library

/**
 * Creates functions that koffi converts the arguments and results of: structures, callbacks, variadic functions. They
 * may be kept for ever, as bound functions: they run the current image or throw, and count as calls in flight, `async`
 * until it has settled. During a `close-first` swap `async` waits for the new image.
 *
 * @param handle The handle.
 * @param prototypes The prototypes, by the names that the functions get. TypeScript infers the types of scalars and strings
 * from those that are strings; a type argument with the types of the functions replaces that.
 * @returns The functions; `null` for an optional one whose symbol is absent now. A candidate that lacks another symbol is
 * refused.
 * @throws {SoError} `ERR_SOSWAP_MISSING_SYMBOL`, `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_NOT_LOADED`.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`: `cause` is what koffi says of the prototype.
 *
 * @example
 * const { quote } = koffiFunctions(price, { quote: 'double quote(double base, unsigned int count)' });
 * console.log(quote(101.5, 2)); // 203
 */
export function koffiFunctions<const P extends KoffiPrototypes>(
  handle: SoHandle,
  prototypes: P,
): KoffiFunctions<P>;
export function koffiFunctions<Types extends Readonly<Record<keyof Types, AnyCallable | null>>>(
  handle: SoHandle,
  prototypes: Readonly<Record<keyof Types, KoffiPrototype>>,
): KoffiFunctionsOf<Types>;
export function koffiFunctions(handle: SoHandle, prototypes: KoffiPrototypes): object {
  checkHandle(handle);
  if (typeof prototypes !== 'object' || prototypes === null || Array.isArray(prototypes)) {
    throw argumentTypeError('prototypes', 'an object', prototypes);
  }
  const all = Object.entries(prototypes).map(
    ([name, value]) => [name, describe(name, value)] as const,
  );
  assertPresent(
    handle,
    all.map(([, described]) => described),
  );
  const functions = Object.create(null);
  for (const [name, described] of all) {
    const { symbol, optional } = described;
    const reference = handle.symbolReference(symbol, { optional });
    const value = koffiFunction(name, reference, described);
    const absent = optional && { get: () => (reference.present ? value : null) };
    Object.defineProperty(functions, name, { enumerable: true, ...(absent || { value }) });
  }
  return functions;
}

/** Refuses what lacks symbols before anything refers to one. */
function assertPresent(handle: SoHandle, all: readonly Described[]): void {
  const missing = all.filter(({ symbol, optional }) => !optional && !has(handle, symbol));
  if (missing.length > 0)
    throw missingSymbols(
      handle.path,
      missing.map(({ symbol }) => symbol),
    );
}

function has(handle: SoHandle, symbol: string): boolean {
  try {
    handle.getSymbol(symbol);
    return true;
  } catch (error) {
    if (error instanceof SoError && error.code === 'ERR_SOSWAP_MISSING_SYMBOL') return false;
    throw error;
  }
}

function koffiFunction(name: string, reference: SymbolReference, { type, errno }: Described) {
  let at: bigint | undefined;
  let target: Native;
  // What koffi makes of an address depends on nothing else, and is collected as any other object.
  const made = (address: bigint): Native => {
    if (at !== address) target = koffi.decode(address, type);
    at = address;
    return target;
  };
  const { async, info }: Native = koffi.decode(1n, type); // nobody calls it
  const types = info.arguments.map((argument) => argument.type);
  // A variadic function takes a type and a value for each further argument.
  const further = async === undefined ? [0, 2, 4] : [0];
  const counts = further.map((more) => types.length + more);
  const call = reference.bind((address) => {
    const counted = countedCall(made(address), counts);
    return errno ? withErrno(counted) : counted;
  }, counts);
  Object.defineProperty(call, 'name', { value: name, configurable: true });
  Object.defineProperty(call, 'length', { value: types.length, configurable: true });
  if (async === undefined) return call;
  return Object.assign(call, { async: asyncCall(reference, made, types, errno) });
}

function withErrno(call: Call): Call {
  return (...values) => {
    koffi.errno(0);
    const value = call(...values);
    return { value, errno: koffi.errno() };
  };
}

function asyncCall(
  reference: SymbolReference,
  made: (address: bigint) => Native,
  types: readonly TypeObject[],
  errno: boolean,
) {
  const begin = (values: readonly unknown[]) =>
    reference.callAsync(
      (address) =>
        new Promise<unknown>((resolve, reject) => {
          let failed: { readonly error: unknown } | undefined;
          const taken = values.map((value, index) => {
            const of = types[index];
            if (typeof value !== 'function' || of === undefined) return value;
            return guard(value as Call, resultOf(of), (error) => {
              failed ??= { error };
            });
          });
          made(address).async?.(...taken, (error: unknown, value: unknown) => {
            const number = errno ? koffi.errno() : 0;
            if (failed !== undefined) reject(failed.error);
            else if (error !== null) reject(error);
            else resolve(errno ? { value, errno: number } : value);
          });
        }),
    );
  return (...values: unknown[]): Promise<unknown> | undefined => {
    const done = values[types.length];
    if (typeof done !== 'function') return begin(values);
    // Not within the promise, which would make a rejection of what the callback throws.
    const report = (error: unknown, value?: unknown) => process.nextTick(() => done(error, value));
    begin(values.slice(0, types.length)).then((value) => report(null, value), report);
    return undefined;
  };
}
