import type { ArgumentType } from '../../call/types.js';

/** A type of C, as far as a definition can say it. */
export type CType =
  | { readonly kind: 'void' }
  | { readonly kind: 'scalar'; readonly name: ArgumentType; readonly constant: boolean }
  | { readonly kind: 'pointer'; readonly to: CType }
  | { readonly kind: 'array'; readonly of: CType; readonly length: number | undefined }
  | { readonly kind: 'record'; readonly record: CRecord }
  | CFunction
  /** What neither soswap nor koffi passes: a `long double`, a `va_list`. */
  | { readonly kind: 'other'; readonly text: string };

export interface CFunction {
  readonly kind: 'function';
  readonly result: CType;
  readonly parameters: readonly CType[];
  readonly variadic: boolean;
  /** The name of its typedef, if it has one. */
  readonly name?: string;
}

/** A structure or a union. One object for each, so that it can contain pointers to itself. */
export interface CRecord {
  readonly kind: 'struct' | 'union';
  /** Empty as long as nothing names it. */
  name: string;
  /** `undefined`: nothing is known of them, or they lie in memory in a way that koffi cannot describe. */
  members: readonly { readonly name: string; readonly type: CType }[] | undefined;
}

export const cVoid: CType = { kind: 'void' };

const fixed: Readonly<Record<string, ArgumentType>> = {
  bool: 'bool',
  _Bool: 'bool',
  char: 'char',
  float: 'float32',
  double: 'float64',
  wchar_t: 'int32',
  size_t: 'uint64',
  ssize_t: 'int64',
  ptrdiff_t: 'int64',
  intptr_t: 'int64',
  uintptr_t: 'uint64',
  int8_t: 'int8',
  uint8_t: 'uint8',
  int16_t: 'int16',
  uint16_t: 'uint16',
  int32_t: 'int32',
  uint32_t: 'uint32',
  int64_t: 'int64',
  uint64_t: 'uint64',
};

/** The scalar that words like `unsigned long int` name, on 64-bit Linux; `undefined` for none. */
export function scalar(text: string): ArgumentType | undefined {
  const words = text.split(/\s+/);
  if (words.length === 1 && Object.hasOwn(fixed, text)) return fixed[text];
  const known = ['signed', '__signed__', 'unsigned', 'char', 'short', 'int', 'long'];
  if (!words.every((word) => known.includes(word))) return undefined;
  const sign = words.includes('unsigned') ? 'uint' : 'int';
  const bits = { char: 8, short: 16, long: 64 };
  const size = (['char', 'short', 'long'] as const).find((word) => words.includes(word));
  return `${sign}${size === undefined ? 32 : bits[size]}` as ArgumentType;
}
