import { argumentTypeError, argumentValueError } from './errors.js';
import { flag } from './options.js';

/**
 * What a pointer is made of: `null` and `undefined` are NULL; a string becomes NUL-terminated UTF-8 that
 * lives for the call; a Buffer, typed array, DataView or ArrayBuffer is its own memory; a `bigint` is an
 * address.
 */
export type PointerLike = string | ArrayBufferView | ArrayBuffer | bigint | null | undefined;

/** The types of `node:ffi`, long and short, and what JavaScript passes for each. */
export interface ArgumentTypes {
  /** 0 is false and 1 is true, as in `node:ffi`; JavaScript's `true` and `false` are refused. */
  readonly bool: number;
  /** As int8 on x64 and uint8 on arm64, as C compilers have it. */
  readonly char: number;
  readonly int8: number;
  readonly i8: number;
  readonly uint8: number;
  readonly u8: number;
  readonly int16: number;
  readonly i16: number;
  readonly uint16: number;
  readonly u16: number;
  readonly int32: number;
  readonly i32: number;
  readonly uint32: number;
  readonly u32: number;
  /** A number must be a safe integer. */
  readonly int64: number | bigint;
  readonly i64: number | bigint;
  /** A number must be a safe integer. */
  readonly uint64: number | bigint;
  readonly u64: number | bigint;
  readonly float32: number;
  readonly f32: number;
  readonly float: number;
  readonly float64: number;
  readonly f64: number;
  readonly double: number;
  readonly pointer: PointerLike;
  readonly ptr: PointerLike;
  readonly string: PointerLike;
  readonly str: PointerLike;
  readonly buffer: PointerLike;
  readonly arraybuffer: PointerLike;
  readonly function: PointerLike;
}

/** What JavaScript gets for each type that a function returns. */
export interface ReturnTypes {
  readonly void: undefined;
  readonly bool: number;
  readonly char: number;
  readonly int8: number;
  readonly i8: number;
  readonly uint8: number;
  readonly u8: number;
  readonly int16: number;
  readonly i16: number;
  readonly uint16: number;
  readonly u16: number;
  readonly int32: number;
  readonly i32: number;
  readonly uint32: number;
  readonly u32: number;
  readonly int64: bigint;
  readonly i64: bigint;
  readonly uint64: bigint;
  readonly u64: bigint;
  readonly float32: number;
  readonly f32: number;
  readonly float: number;
  readonly float64: number;
  readonly f64: number;
  readonly double: number;
  /** An address. It may be dead after the next swap. */
  readonly pointer: bigint;
  readonly ptr: bigint;
  /**
   * Copied at once; `null` for NULL. `node:ffi` gives the address instead, which would be dead after a
   * swap: ask for a `pointer` to get it.
   */
  readonly string: string | null;
  readonly str: string | null;
  readonly buffer: bigint;
  readonly arraybuffer: bigint;
  readonly function: bigint;
}

/** The name of a type that an argument can have. */
export type ArgumentType = keyof ArgumentTypes;

/** The name of a type that a function can return. */
export type ReturnType = keyof ReturnTypes;

/** How one symbol is called. */
export interface Definition {
  /** At most 1,024. Default: none. */
  readonly arguments?: readonly ArgumentType[];
  /** Default `void`. */
  readonly return?: ReturnType;
  /**
   * The call runs on libuv's thread pool and returns a promise. Memory of an ArrayBuffer is copied for the
   * call, and what the call changed is copied back when it is done; a view of a SharedArrayBuffer is
   * passed as it is.
   */
  readonly nonblocking?: boolean | undefined;
  /** The function is `null` where the symbol is absent, instead of an error. */
  readonly optional?: boolean | undefined;
}

/** Definitions by symbol name. */
export type Definitions = Readonly<Record<string, Definition>>;

/** The function that a definition gives: `null` too if it is optional. */
export type FunctionFor<S extends Definition> = [keyof Definition, Definition] extends [keyof S, S]
  ? AnyFunction | null
  : CallFor<S> | (true extends Flag<S, 'optional'> ? null : never);

/** The functions that definitions give. */
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

/** A signature as the addon takes it: numbers of the enum Type in native/signature.h. */
export interface EncodedSignature {
  readonly returnType: number;
  readonly argumentTypes: readonly number[];
  readonly nonblocking: boolean;
}

/** In the order of the enum Type in native/signature.h. */
const typeNames = [
  'void',
  'bool',
  'char',
  'int8',
  'uint8',
  'int16',
  'uint16',
  'int32',
  'uint32',
  'int64',
  'uint64',
  'float32',
  'float64',
  'pointer',
  'string',
  'buffer',
  'arraybuffer',
  'function',
] as const;

type TypeName = (typeof typeNames)[number];

const shortSpellings = {
  i8: 'int8',
  u8: 'uint8',
  i16: 'int16',
  u16: 'uint16',
  i32: 'int32',
  u32: 'uint32',
  i64: 'int64',
  u64: 'uint64',
  f32: 'float32',
  float: 'float32',
  f64: 'float64',
  double: 'float64',
  ptr: 'pointer',
  str: 'string',
} as const;

const typeCodes = new Map<unknown, number>([
  ...typeNames.map((name, code) => [name, code] as const),
  ...Object.entries(shortSpellings).map(
    ([short, name]) => [short, typeNames.indexOf(name)] as const,
  ),
]);

/** C promises 127 (C17, 5.2.4.1). They lie on the stack, of which a worker may have little left. */
const mostArguments = 1024;

const definitionKeys = ['arguments', 'return', 'nonblocking', 'optional'];

/** What other libraries call them. */
const meantKeys = new Map([
  ['args', 'arguments'],
  ['parameters', 'arguments'],
  ['result', 'return'],
  ['returns', 'return'],
  ['async', 'nonblocking'],
]);

/** Types that are the same to the machine, in both directions: a signature with one is one with the other. */
const machineTypes: Partial<Record<TypeName, TypeName>> = {
  bool: 'uint8',
  char: process.arch === 'arm64' ? 'uint8' : 'int8',
  buffer: 'pointer',
  arraybuffer: 'pointer',
  function: 'pointer',
};

/** A symbol name, or a `TypeError`. Whether there is such a symbol is another question. */
export function checkSymbolName(symbol: unknown): asserts symbol is string {
  if (typeof symbol !== 'string') throw argumentTypeError('symbol', 'a string', symbol);
  if (symbol === '') throw argumentValueError('symbol', 'must not be empty', symbol);
  if (symbol.includes('\0')) {
    throw argumentValueError('symbol', 'must not contain null bytes', shortened(symbol));
  }
}

/** Definitions by symbol name, or a `TypeError` that names the function. */
export function checkDefinitions(definitions: unknown): asserts definitions is Definitions {
  if (!isObject(definitions)) throw argumentTypeError('definitions', 'an object', definitions);
  for (const [symbol, definition] of Object.entries(definitions)) {
    checkSymbolName(symbol);
    encodeSignature(symbol, definition);
  }
}

/**
 * A definition as the addon takes it.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE`, naming the function.
 */
export function encodeSignature(symbol: string, definition: unknown): EncodedSignature {
  const name = shortened(symbol);
  if (!isObject(definition)) throw argumentTypeError(name, 'a definition object', definition);
  for (const key of Object.keys(definition)) {
    if (definitionKeys.includes(key)) continue;
    const meant = meantKeys.get(key);
    const hint = meant === undefined ? `known are ${definitionKeys.join(', ')}` : `use '${meant}'`;
    throw argumentValueError(
      `${name}.${shortened(key)}`,
      `is not a part of a definition; ${hint}`,
      definition[key],
    );
  }
  flag(`${name}.optional`, definition.optional);
  return {
    returnType: 'return' in definition ? returnCode(name, definition.return) : 0,
    argumentTypes: 'arguments' in definition ? argumentCodes(name, definition.arguments) : [],
    nonblocking: flag(`${name}.nonblocking`, definition.nonblocking),
  };
}

/**
 * The same text for the same signature, whatever the spelling: `int32(int32, pointer)`. As in `node:ffi`,
 * types that are the same to the machine are the same, but for `string`, which is returned differently.
 */
export function signatureKey(symbol: string, definition: unknown): string {
  const { returnType, argumentTypes, nonblocking } = encodeSignature(symbol, definition);
  const machine = (code: number): TypeName => {
    const name = typeNames[code] ?? 'void';
    return machineTypes[name] ?? name;
  };
  const list = argumentTypes.map((code) => machine(code).replace('string', 'pointer')).join(', ');
  return `${nonblocking ? 'nonblocking ' : ''}${machine(returnType)}(${list})`;
}

function returnCode(name: string, type: unknown): number {
  const code = typeCodes.get(type);
  if (code !== undefined) return code;
  throw argumentValueError(`${name}.return`, `must be a type: ${typeNames.join(', ')}`, type);
}

function argumentCodes(name: string, types: unknown): number[] {
  if (!Array.isArray(types)) {
    throw argumentValueError(`${name}.arguments`, 'must be an array of types', types);
  }
  if (types.length > mostArguments) {
    const reason = `must not hold more than ${mostArguments} types`;
    throw argumentValueError(`${name}.arguments.length`, reason, types.length);
  }
  // Array.from() also visits the holes.
  return Array.from(types, (type: unknown, index) => {
    const code = typeCodes.get(type);
    if (code !== undefined && code > 0) return code;
    const reason =
      code === 0
        ? "cannot be 'void'; a function without arguments has an empty array"
        : `must be a type: ${typeNames.slice(1).join(', ')}`;
    throw argumentValueError(`${name}.arguments[${index}]`, reason, type);
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function shortened(name: string): string {
  return name.length > 80 ? `${name.slice(0, 80)}…` : name;
}
