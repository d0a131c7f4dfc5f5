/**
 * The values that a pointer argument accepts.
 *
 * - `null` and `undefined`: NULL
 * - a string without null characters: the address of a copy in UTF-8 with a terminating NUL, valid during the call
 * - a Buffer, a typed array, a DataView or an ArrayBuffer: the address of its memory
 * - a `bigint`: an address from 0 to 2^64 - 1
 */
export type PointerLike = string | ArrayBufferView | ArrayBuffer | bigint | null | undefined;

/** The argument types of `node:ffi`, and the values that each accepts. A call throws for any other value. */
export interface ArgumentTypes {
  /** An integer from 0 to 255, as in `node:ffi`: 0 is false, 1 is true. The values `true` and `false` are refused. */
  readonly bool: number;
  /** The same range as `char` of C: that of `int8` on x64, and that of `uint8` on arm64. */
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
  /** An integer from -2^63 to 2^63 - 1, as a `bigint` or a safe integer. */
  readonly int64: number | bigint;
  /** `int64`. */
  readonly i64: number | bigint;
  /** An integer from 0 to 2^64 - 1, as a `bigint` or a safe integer. */
  readonly uint64: number | bigint;
  /** `uint64`. */
  readonly u64: number | bigint;
  /** Any number. The call rounds it to the nearest `float` of C, and a larger number to Infinity. */
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
  /** A pointer. */
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
  /** The same as `pointer`. A JavaScript function is refused. */
  readonly function: PointerLike;
}

/** The return types of `node:ffi`, and the value that a call returns for each. */
export interface ReturnTypes {
  /** No value. */
  readonly void: undefined;
  /** An integer from 0 to 255: 0 or 1 if the function returns a `bool` of C. */
  readonly bool: number;
  /** The same range as `char` of C: that of `int8` on x64, and that of `uint8` on arm64. */
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
  /** The value of a `float` of C. */
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
  /** An address from 0n to 2n ** 64n - 1n; 0n is NULL. An address in the image is invalid after the next swap. */
  readonly pointer: bigint;
  /** `pointer`. */
  readonly ptr: bigint;
  /**
   * A copy of the UTF-8 text up to its terminating NUL; `null` for NULL. `node:ffi` returns the address instead, which
   * `pointer` returns here; an address in the image is invalid after the next swap.
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

/** The name of an argument type. */
export type ArgumentType = keyof ArgumentTypes;

/** The name of a return type. */
export type ReturnType = keyof ReturnTypes;

/** The signature of one function. */
export interface Definition {
  /** The argument types in order, at most 1,024. Defaults to no arguments. */
  readonly arguments?: readonly ArgumentType[];
  /** The return type. Defaults to `void`. */
  readonly return?: ReturnType;
  /**
   * A call on the thread pool of libuv, which returns a promise. The call works on a copy of each Buffer and
   * ArrayBuffer; changed bytes are copied back when the function has returned. Memory of a SharedArrayBuffer is passed
   * without a copy. Defaults to `false`.
   */
  readonly nonblocking?: boolean | undefined;
  /**
   * A call that returns `{ value, errno }`, see {@link WithErrno}; a nonblocking call resolves with it. `errno` of C is 0
   * when the function begins, and is read as soon as it has returned, on its thread. Defaults to `false`.
   */
  readonly errno?: boolean | undefined;
  /**
   * Whether the function is a leaf: whether it never calls back into JavaScript, on the thread that calls it. V8 then calls
   * it straight from compiled code, if all arguments are numbers, bigints or addresses that find registers. Node.js 24 and
   * newer do so for every function without `leaf: false`; Node.js 20 and 22 only with `leaf: true`, and **end the process** if
   * the function calls back all the same.
   */
  readonly leaf?: boolean | undefined;
  /** A symbol that the library may lack: the function is then `null`. Defaults to `false`. */
  readonly optional?: boolean | undefined;
}

/**
 * What a call returns whose definition has `errno: true`. Both belong to this call, whatever other calls and other threads
 * do.
 *
 * @example
 * const { functions } = SoHandle.open('libc.so.6', {
 *   close: { arguments: ['int32'], return: 'int32', errno: true },
 * });
 * console.log(functions.close(-1)); // { value: -1, errno: 9 }
 */
export interface WithErrno<Result> {
  /** What the function returned. */
  readonly value: Result;
  /** `errno` of C after the call, 0 if the function did not set it; `os.constants.errno` of Node.js has the names. */
  readonly errno: number;
}

/** The definitions of a handle, by symbol name. */
export type Definitions = Readonly<Record<string, Definition>>;

/** The type of the function that a definition describes. It includes `null` if the definition is optional. */
export type FunctionFor<S extends Definition> = [keyof Definition, Definition] extends [keyof S, S]
  ? AnyFunction | null
  : CallFor<S> | (true extends Flag<S, 'optional'> ? null : never);

/**
 * The bound functions of a handle, by symbol name. Only the thread that opened the handle can call them. A call runs
 * the current image, or throws one of these errors; a nonblocking call rejects with it:
 *
 * - a `TypeError` with `ERR_INVALID_ARG_VALUE`: an argument or the number of arguments is wrong; no native code ran
 * - a {@link SoError} with `ERR_SOSWAP_CLOSED`: the handle is closed
 * - a {@link SoError} with `ERR_SOSWAP_NOT_LOADED`: the handle has no image after a failed swap
 * - a {@link SoError} with `ERR_SOSWAP_MISSING_SYMBOL`: the current image lacks the optional symbol
 * - a {@link SoError} with `ERR_SOSWAP_NATIVE_EXCEPTION`: the function threw a C++ exception
 */
export type BoundFunctions<D extends Definitions> = {
  readonly [Symbol in keyof D]: FunctionFor<D[Symbol]>;
};

type CallFor<S extends Definition> = (
  ...values: ArgumentsOf<S>
) => Settled<S, Reported<S, ResultOf<S>>>;

type Reported<S extends Definition, Result> =
  true extends Flag<S, 'errno'>
    ? WithErrno<Result> | (Flag<S, 'errno'> extends true ? never : Result)
    : Result;

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

/** The type of a flag: `true`, `false`, or `boolean` if its value is known only at run time. */
type Flag<
  S extends Definition,
  Name extends 'nonblocking' | 'errno' | 'optional',
> = Name extends keyof S ? S[Name] : false;

type AnyResult = ReturnTypes[ReturnType] | WithErrno<ReturnTypes[ReturnType]>;

/** A function whose definition is known only at run time. Declared as a method, so that every bound function fits. */
type AnyFunction = {
  call(...values: ArgumentTypes[ArgumentType][]): AnyResult | Promise<AnyResult>;
}['call'];
