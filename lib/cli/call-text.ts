import { encodeSignature } from '../call/signature.js';
import type { ArgumentType, Definition, PointerLike } from '../call/types.js';
import { UsageError } from './usage-error.js';

/** What a command line can say of a call: no nonblocking, no optional. */
export type Signature = Required<Pick<Definition, 'arguments' | 'return'>>;

/**
 * `int32(int32, double)`, or `int32` for a function without arguments.
 *
 * @throws {UsageError}
 */
export function parseSignature(text: string): Signature {
  const [, result, list = ''] = /^\s*(\w+)\s*(?:\(([^()]*)\))?\s*$/.exec(text) ?? [];
  if (result === undefined) {
    throw new UsageError(`--signature must be like 'int32(int32, double)'; it is '${text}'`);
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
 * The values for a call, of the types that its signature has.
 *
 * @throws {UsageError}
 */
export function parseValues(types: readonly ArgumentType[], texts: readonly string[]): Value[] {
  if (types.length !== texts.length) {
    const wanted = types.length === 0 ? 'no arguments' : `(${types.join(', ')})`;
    throw new UsageError(
      `the signature has ${wanted}, but ${texts.length} value(s) follow --args; ` +
        "see --signature, like 'int32(int32, double)'",
    );
  }
  return texts.map((text, index) => parseValue(types[index] ?? 'int32', text));
}

type Value = number | PointerLike;

function parseValue(type: ArgumentType, text: string): Value {
  const value = convert(type, text);
  if (value !== undefined) return value;
  throw new UsageError(`--args: '${text}' is no ${type}${hints[kindOf(type)]}`);
}

type Kind = 'text' | 'address' | 'fraction' | 'long' | 'integer';

const hints: Readonly<Record<Kind, string>> = {
  text: '',
  address: ': it must be null or an address like 0x7f0000001000',
  fraction: ': it must be a number like -1.5e3',
  long: ': it must be an integer like -5 or 0xff',
  integer: ': it must be an integer like -5 or 0xff',
};

function kindOf(type: ArgumentType): Kind {
  if (/^(str|string|buffer|arraybuffer)$/.test(type)) return 'text';
  if (/^(ptr|pointer|function)$/.test(type)) return 'address';
  if (/^(f32|f64|float|float32|float64|double)$/.test(type)) return 'fraction';
  return type.endsWith('64') ? 'long' : 'integer';
}

/** `undefined` if the text is none of that type; whether it is in range is seen at the call. */
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
