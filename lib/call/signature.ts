import { argumentTypeError, argumentValueError } from '../internal/errors.js';
import { flag } from '../internal/options.js';
import type { EncodedSignature } from '../native/types.js';
import type { Definitions } from './types.js';

/** In the order of the enum Type in native/core/call/signature.h. */
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
