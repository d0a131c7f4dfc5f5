/**
 * What a pointer is made of: `null` and `undefined` are NULL; a string becomes NUL-terminated UTF-8 that
 * lives for the call; a Buffer, typed array, DataView or ArrayBuffer is its own memory; a `bigint` is an
 * address.
 */
export type PointerLike = string | ArrayBufferView | ArrayBuffer | bigint | null | undefined;

/** The types of `node:ffi`, long and short, and what JavaScript passes for each. Anything else is refused. */
export interface ArgumentTypes {
  /** 0 is false and 1 is true, up to 255, as in `node:ffi`; JavaScript's `true` and `false` are refused. */
  readonly bool: number;
  /** As `int8` on x64 and `uint8` on arm64, as C compilers have it. */
  readonly char: number;
  /** An integer from -128 to 127. */
  readonly int8: number;
  /** `int8`. */
  readonly i8: number;
  /** An integer from 0 to 255. */
  readonly uint8: number;
  /** `uint8`. */
  readonly u8: number;
  /** An integer from -32,768 to 32,767. */
  readonly int16: number;
  /** `int16`. */
  readonly i16: number;
  /** An integer from 0 to 65,535. */
  readonly uint16: number;
  /** `uint16`. */
  readonly u16: number;
  /** An integer from -2^31 to 2^31 - 1. */
  readonly int32: number;
  /** `int32`. */
  readonly i32: number;
  /** An integer from 0 to 2^32 - 1. */
  readonly uint32: number;
  /** `uint32`. */
  readonly u32: number;
  /** An integer from -2^63 to 2^63 - 1. A number must be a safe integer. */
  readonly int64: number | bigint;
  /** `int64`. */
  readonly i64: number | bigint;
  /** An integer from 0 to 2^64 - 1. A number must be a safe integer. */
  readonly uint64: number | bigint;
  /** `uint64`. */
  readonly u64: number | bigint;
  /** Any number, rounded to the nearest that C's `float` has; Infinity if it is too large. */
  readonly float32: number;
  /** `float32`. */
  readonly f32: number;
  /** `float32`. */
  readonly float: number;
  /** Any number. */
  readonly float64: number;
  /** `float64`. */
  readonly f64: number;
  /** `float64`. */
  readonly double: number;
  /** An address in any form. */
  readonly pointer: PointerLike;
  /** `pointer`. */
  readonly ptr: PointerLike;
  /** The same as `pointer`. */
  readonly string: PointerLike;
  /** `string`. */
  readonly str: PointerLike;
  /** The same as `pointer`. */
  readonly buffer: PointerLike;
  /** The same as `pointer`. */
  readonly arraybuffer: PointerLike;
  /** The same as `pointer`. A JavaScript function cannot be passed. */
  readonly function: PointerLike;
}

/** What JavaScript gets for each type that a function returns. */
export interface ReturnTypes {
  /** Nothing. */
  readonly void: undefined;
  /** The byte that the function gives: 0 or 1 if it is a `bool` of C. */
  readonly bool: number;
  /** As `int8` on x64 and `uint8` on arm64, as C compilers have it. */
  readonly char: number;
  /** An integer from -128 to 127. */
  readonly int8: number;
  /** `int8`. */
  readonly i8: number;
  /** An integer from 0 to 255. */
  readonly uint8: number;
  /** `uint8`. */
  readonly u8: number;
  /** An integer from -32,768 to 32,767. */
  readonly int16: number;
  /** `int16`. */
  readonly i16: number;
  /** An integer from 0 to 65,535. */
  readonly uint16: number;
  /** `uint16`. */
  readonly u16: number;
  /** An integer from -2^31 to 2^31 - 1. */
  readonly int32: number;
  /** `int32`. */
  readonly i32: number;
  /** An integer from 0 to 2^32 - 1. */
  readonly uint32: number;
  /** `uint32`. */
  readonly u32: number;
  /** An integer from -2^63 to 2^63 - 1. */
  readonly int64: bigint;
  /** `int64`. */
  readonly i64: bigint;
  /** An integer from 0 to 2^64 - 1. */
  readonly uint64: bigint;
  /** `uint64`. */
  readonly u64: bigint;
  /** A number that C's `float` has. */
  readonly float32: number;
  /** `float32`. */
  readonly f32: number;
  /** `float32`. */
  readonly float: number;
  /** Any number. */
  readonly float64: number;
  /** `float64`. */
  readonly f64: number;
  /** `float64`. */
  readonly double: number;
  /** An address, 0n for NULL. If it is one of the image, it is dead after the next swap. */
  readonly pointer: bigint;
  /** `pointer`. */
  readonly ptr: bigint;
  /**
   * The text up to its NUL as UTF-8, copied at once; `null` for NULL. `node:ffi` gives the address instead, which
   * would be dead after a swap: ask for a `pointer` to get it.
   */
  readonly string: string | null;
  /** `string`. */
  readonly str: string | null;
  /** The same as `pointer`. */
  readonly buffer: bigint;
  /** The same as `pointer`. */
  readonly arraybuffer: bigint;
  /** The same as `pointer`. */
  readonly function: bigint;
}

/** The name of a type that an argument can have. */
export type ArgumentType = keyof ArgumentTypes;

/** The name of a type that a function can return. */
export type ReturnType = keyof ReturnTypes;

/** How one symbol is called. */
export interface Definition {
  /** The types of its arguments in order, at most 1,024. Default: none. */
  readonly arguments?: readonly ArgumentType[];
  /** The type of what it returns. Default `void`. */
  readonly return?: ReturnType;
  /**
   * The call runs on libuv's thread pool and returns a promise. Memory of an ArrayBuffer is copied for the
   * call, and what the call changed is copied back when it is done; a view of a SharedArrayBuffer is
   * passed as it is. Default `false`.
   */
  readonly nonblocking?: boolean | undefined;
  /** The function is `null` where the symbol is absent, instead of an error. Default `false`. */
  readonly optional?: boolean | undefined;
}

/** Definitions by symbol name. */
export type Definitions = Readonly<Record<string, Definition>>;

/** The function that a definition gives: `null` too if it is optional. */
export type FunctionFor<S extends Definition> = [keyof Definition, Definition] extends [keyof S, S]
  ? AnyFunction | null
  : CallFor<S> | (true extends Flag<S, 'optional'> ? null : never);

/**
 * The functions that definitions give. Each runs the current image of its handle or throws:
 *
 * - a `TypeError` with `ERR_INVALID_ARG_VALUE` for a wrong argument or number of them; nothing is called
 * - a {@link SoError} with `ERR_SOSWAP_CLOSED` after the handle was closed, `ERR_SOSWAP_NOT_LOADED` while it has no
 *   image, `ERR_SOSWAP_MISSING_SYMBOL` for an optional symbol that a swap took away, `ERR_SOSWAP_NATIVE_EXCEPTION` for
 *   a C++ exception
 *
 * `nonblocking` ones return a promise that rejects with these. Only the thread of the handle can call them.
 */
export type BoundFunctions<D extends Definitions> = {
  readonly [Symbol in keyof D]: FunctionFor<D[Symbol]>;
};

type CallFor<S extends Definition> = (...values: ArgumentsOf<S>) => Settled<S, ResultOf<S>>;

type ArgumentsOf<S extends Definition> = S extends {
  readonly arguments: infer Names extends readonly ArgumentType[];
}
  ? { -readonly [Index in keyof Names]: ArgumentTypes[Names[Index]] }
  : [];

type ResultOf<S extends Definition> = S extends { readonly return: infer Name extends ReturnType }
  ? ReturnTypes[Name]
  : undefined;

type Settled<S extends Definition, Result> =
  true extends Flag<S, 'nonblocking'>
    ? Promise<Result> | (Flag<S, 'nonblocking'> extends true ? never : Result)
    : Result;

/** What is known of a flag: `true`, `false`, or no more than `boolean`. */
type Flag<S extends Definition, Name extends 'nonblocking' | 'optional'> = Name extends keyof S
  ? S[Name]
  : false;

/** Of definitions that are known at run time only. A method, so that every bound function is one. */
type AnyFunction = {
  call(
    ...values: ArgumentTypes[ArgumentType][]
  ): ReturnTypes[ReturnType] | Promise<ReturnTypes[ReturnType]>;
}['call'];
