import { argumentTypeError, argumentValueError } from '../internal/errors.js';
import { flag, type Keys, readOptions, shortened, type Unchecked } from '../internal/options.js';
import type { EncodedSignature } from '../native/types.js';
import { similarType } from './similar-types.js';
import type { Definition, Definitions } from './types.js';

/** The types in the order of the enum Type in native/core/call/signature.h. */
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

const shortList = Object.keys(shortSpellings).join(', ');

/** C guarantees 127 arguments (C17, 5.2.4.1). A call puts them on the stack, which may be small in a worker. */
const maxArguments = 1024;

const definitionKeys: Keys<Definition> = {
  arguments: true,
  return: true,
  nonblocking: true,
  errno: true,
  leaf: true,
  optional: true,
};

/** Names of these keys in other libraries, for the error message. */
const similarKeys = {
  args: 'arguments',
  parameters: 'arguments',
  result: 'return',
  returns: 'return',
  async: 'nonblocking',
};

/** Types that the calling convention passes and returns alike: signatures that differ only in them are equal. */
const equivalentTypes: Partial<Record<TypeName, TypeName>> = {
  bool: 'uint8',
  char: process.arch === 'arm64' ? 'uint8' : 'int8',
  buffer: 'pointer',
  arraybuffer: 'pointer',
  function: 'pointer',
};

/**
 * Checks that a value can be a symbol name. Does not look the symbol up.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`
 */
export function checkSymbolName(symbol: unknown): asserts symbol is string {
  if (typeof symbol !== 'string') throw argumentTypeError('symbol', 'a string', symbol);
  if (symbol === '') throw argumentValueError('symbol', 'must not be empty', symbol);
  if (symbol.includes('\0')) {
    throw argumentValueError('symbol', 'must not contain null bytes', shortened(symbol));
  }
}

/**
 * Reads each definition of a handle once, checks it, and returns copies: a getter may answer differently, or change the
 * handle, and the program may change its objects later.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`; the message names the function.
 */
export function copyDefinitions<D extends Definitions>(definitions: D): D {
  if (!isObject(definitions)) throw argumentTypeError('definitions', 'an object', definitions);
  const entries = Object.entries(definitions).map(([symbol, definition]) => {
    checkSymbolName(symbol);
    return [symbol, copyDefinition(symbol, definition)] as const;
  });
  return Object.fromEntries(entries) as D;
}

/**
 * The same for one definition.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`; the message names the function.
 */
export function copyDefinition(symbol: string, definition: unknown): Definition {
  if (!isObject(definition)) {
    throw argumentTypeError(shortened(symbol), 'a definition object', definition);
  }
  const copy = { ...readOptions(shortened(symbol), definition, definitionKeys, similarKeys) };
  const types = copy.arguments;
  if (Array.isArray(types) && types.length <= maxArguments) copy.arguments = Array.from(types);
  encodeSignature(symbol, copy);
  return Object.freeze(copy) as Definition;
}

/**
 * Checks the copy of a definition and encodes it for the addon.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`; the message names the function.
 */
export function encodeSignature(
  symbol: string,
  definition: Unchecked<Definition>,
): EncodedSignature {
  const name = shortened(symbol);
  flag(`${name}.optional`, definition.optional);
  flag(`${name}.leaf`, definition.leaf);
  return {
    returnType: 'return' in definition ? returnCode(name, definition.return) : 0,
    argumentTypes: 'arguments' in definition ? argumentCodes(name, definition.arguments) : [],
    nonblocking: flag(`${name}.nonblocking`, definition.nonblocking),
    errno: flag(`${name}.errno`, definition.errno),
  };
}

/**
 * Returns a text that is equal for equal signatures, for example `int32(int32, pointer)`. As in `node:ffi`, equivalent
 * types are equal. The exception is `string` as a return type, which soswap converts.
 */
export function signatureKey(symbol: string, definition: Definition): string {
  const { returnType, argumentTypes, nonblocking, errno } = encodeSignature(symbol, definition);
  const canonical = (code: number): TypeName => {
    const name = typeNames[code] ?? 'void';
    return equivalentTypes[name] ?? name;
  };
  const list = argumentTypes.map((code) => canonical(code).replace('string', 'pointer')).join(', ');
  const leaf = definition.leaf === undefined ? '' : definition.leaf ? 'leaf ' : 'non-leaf ';
  const kind = `${nonblocking ? 'nonblocking ' : ''}${errno ? 'errno ' : ''}${leaf}`;
  return `${kind}${canonical(returnType)}(${list})`;
}

function returnCode(name: string, type: unknown): number {
  const code = typeCodes.get(type);
  if (code !== undefined) return code;
  throw argumentValueError(`${name}.return`, mustBeType(typeNames, type), type);
}

function argumentCodes(name: string, types: unknown): number[] {
  if (!Array.isArray(types)) {
    throw argumentValueError(`${name}.arguments`, 'must be an array of types', types);
  }
  if (types.length > maxArguments) {
    const reason = `must not hold more than ${maxArguments} types`;
    throw argumentValueError(`${name}.arguments.length`, reason, types.length);
  }
  // Array.from() visits holes too, unlike map().
  return Array.from(types, (type: unknown, index) => {
    const code = typeCodes.get(type);
    if (code !== undefined && code > 0) return code;
    const reason =
      code === 0
        ? "must not be 'void'; the array of a function without arguments is empty"
        : mustBeType(typeNames.slice(1), type);
    throw argumentValueError(`${name}.arguments[${index}]`, reason, type);
  });
}

function mustBeType(names: readonly string[], received: unknown): string {
  const similar = similarType(received, (name) => typeCodes.has(name));
  const hint = similar === undefined ? '' : `; '${similar}' may be meant`;
  return `must be a type: ${names.join(', ')}; in short: ${shortList}${hint}`;
}

/** Refuses arrays, maps, buffers, promises and whatever else holds no properties. A module may hold definitions. */
function isObject(value: unknown): value is Record<string, unknown> {
  const kind = Object.prototype.toString.call(value);
  return typeof value === 'object' && (kind === '[object Object]' || kind === '[object Module]');
}
