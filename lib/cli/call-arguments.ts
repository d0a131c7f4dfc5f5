import { encodeSignature } from '../call/signature.js';
import type { ArgumentType, Definition, PointerLike } from '../call/types.js';
import { UsageError } from './usage-error.js';

/** The part of a definition that --signature gives. */
export type Signature = Required<Pick<Definition, 'arguments' | 'return'>>;

/**
 * Parses the value of --signature: `int32(int32, double)`, or `int32` for a function without arguments.
 *
 * @throws {UsageError} The text is not a signature.
 */
export function parseSignature(text: string): Signature {
  const [, result, list = ''] = /^\s*(\w[\w *]*?)\s*(?:\(([^()]*)\))?\s*$/.exec(text) ?? [];
  if (result === undefined) {
    throw new UsageError(`--signature must be like 'int32(int32, double)'. Received '${text}'`);
  }
  const types = list.split(',').map((each) => each.trim());
  const signature = { return: result, arguments: list.trim() === '' ? [] : types };
  try {
    encodeSignature('signature', signature);
  } catch (error) {
    throw new UsageError(`--signature '${text}': ${(error as Error).message}`);
  }
  return signature as Signature;
}

/**
 * Converts the values of --args to the argument types of the signature.
 *
 * @throws {UsageError} The number of values is wrong, or a value does not have its type.
 */
export function parseValues(types: readonly ArgumentType[], texts: readonly string[]): Value[] {
  if (types.length !== texts.length) {
    const wanted = types.length === 0 ? 'no arguments' : `(${types.join(', ')})`;
    throw new UsageError(
      `the signature takes ${wanted}, but --args gives ${texts.length} value(s); ` +
        "--signature sets the argument types, for example 'int32(int32, double)'",
    );
  }
  return texts.map((text, index) => parseValue(types[index] ?? 'int32', text));
}

type Value = number | PointerLike;

function parseValue(type: ArgumentType, text: string): Value {
  const value = convert(type, text);
  if (value !== undefined) return value;
  throw new UsageError(`--args: '${text}' is not a valid ${type}${hints[kindOf(type)]}`);
}

type Kind = 'text' | 'address' | 'fraction' | 'long' | 'integer';

const hints: Readonly<Record<Kind, string>> = {
  text: '',
  address: ': expected null or an address like 0x7f0000001000',
  fraction: ': expected a number like -1.5e3',
  long: ': expected an integer like -5 or 0xff',
  integer: ': expected an integer like -5 or 0xff',
};

function kindOf(type: ArgumentType): Kind {
  if (/^(str|string|buffer|arraybuffer)$/.test(type)) return 'text';
  if (/^(ptr|pointer|function)$/.test(type)) return 'address';
  if (/^(f32|f64|float|float32|float64|double)$/.test(type)) return 'fraction';
  return type.endsWith('64') ? 'long' : 'integer';
}

/** Returns `undefined` if the text does not have the type. The call itself checks the range. */
function convert(type: ArgumentType, text: string): Value {
  const kind = kindOf(type);
  if (kind === 'text') return text;
  if (kind === 'address' && text === 'null') return null;
  if (kind === 'fraction') return fraction(text);
  const value = integer(text);
  return kind === 'integer' && value !== undefined ? Number(value) : value;
}

function fraction(text: string): number | undefined {
  const special = new Map([
    ['nan', Number.NaN],
    ['inf', Number.POSITIVE_INFINITY],
    ['-inf', Number.NEGATIVE_INFINITY],
  ]);
  if (special.has(text)) return special.get(text);
  return /\d/.test(text) && !Number.isNaN(Number(text)) ? Number(text) : undefined;
}

function integer(text: string): bigint | undefined {
  const [, minus, digits] = /^([+-]?)(\d+|0x[0-9a-f]+)$/i.exec(text) ?? [];
  if (digits === undefined) return undefined;
  return minus === '-' ? -BigInt(digits) : BigInt(digits);
}
