import type { UnloadPolicy } from '../image/image-info.js';
import { argumentTypeError, argumentValueError } from './errors.js';

/** The options of one object, so that the compiler compares the list with the type: no key is missing, none is too much. */
export type Keys<Options> = { readonly [Key in keyof Options]-?: true };

/** What a caller passed, not checked yet. */
export type Unchecked<Options> = { readonly [Key in keyof Options]?: unknown };

/**
 * Reads an object of options: each value once, because a getter may answer differently or change the handle.
 *
 * @param name What the caller calls the object.
 * @param aliases Names of options in other libraries, for the message.
 * @returns A copy of what is there; empty for `undefined`.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`: no object; `ERR_INVALID_ARG_VALUE`: a key that is no option.
 */
export function readOptions<Options>(
  name: string,
  given: unknown,
  keys: Keys<Options>,
  aliases: Readonly<Record<string, string>> = {},
): Unchecked<Options> {
  if (given === undefined) return {};
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw argumentTypeError(name, 'an object', given);
  }
  const options = given as Readonly<Record<string, unknown>>;
  const known = Object.keys(keys);
  for (const key of Object.keys(options)) {
    if (Object.hasOwn(keys, key)) continue;
    const meant = Object.hasOwn(aliases, key) ? aliases[key] : nearest(key, known);
    const hint = meant === undefined ? '.' : `; did you mean '${meant}'?`;
    const reason = `is unknown${hint} Known are ${known.join(', ')}`;
    throw argumentValueError(`${name}.${shortened(key)}`, reason, options[key]);
  }
  const present = known.filter((key) => key in options);
  return Object.fromEntries(present.map((key) => [key, options[key]])) as Unchecked<Options>;
}

/** Returns a name that fits into a message. */
export function shortened(name: string): string {
  return name.length > 80 ? `${name.slice(0, 80)}…` : name;
}

/** Returns the one of `known` that takes the fewest edits; `undefined` if more than half of the name would change. */
function nearest(name: string, known: readonly string[]): string | undefined {
  if (name.length > 80) return undefined;
  const distances = known.map((each) => edits(name.toLowerCase(), each.toLowerCase()));
  const fewest = Math.min(...distances);
  const found = known[distances.indexOf(fewest)];
  return found !== undefined && fewest <= found.length / 2 ? found : undefined;
}

/** Counts the letters to insert, remove, replace or exchange with their neighbour that make `b` of `a`. */
function edits(a: string, b: string): number {
  let [beforeLast, last] = [[] as number[], Array.from({ length: b.length + 1 }, (_, at) => at)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const [above = 0, left = 0, diagonal = 0] = [last[j], row[j - 1], last[j - 1]];
      let least = Math.min(above + 1, left + 1, diagonal + (a[i - 1] === b[j - 1] ? 0 : 1));
      const isExchanged = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isExchanged) least = Math.min(least, (beforeLast[j - 2] ?? 0) + 1);
      row.push(least);
    }
    [beforeLast, last] = [last, row];
  }
  return last[b.length] ?? 0;
}

/**
 * Returns an option with a fixed set of values; the first of `allowed` if it is absent.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE`
 */
export function oneOf<const T extends string>(
  name: string,
  value: unknown,
  allowed: readonly [T, ...T[]],
): T {
  if (value === undefined) return allowed[0];
  const found = allowed.find((each) => each === value);
  if (found !== undefined) return found;
  throw argumentValueError(
    name,
    `must be one of ${allowed.map((each) => `'${each}'`).join(', ')}`,
    value,
  );
}

/**
 * Returns a boolean option; `false` if it is absent.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`
 */
export function flag(name: string, value: unknown): boolean {
  if (value === undefined || typeof value === 'boolean') return value ?? false;
  throw argumentTypeError(name, 'a boolean', value);
}

/** What a wait may take unless an option says otherwise, in milliseconds. */
export const defaultTimeout = 10_000;

/** The longest delay of a timer of Node.js in milliseconds. */
export const longestTimer = 2 ** 31 - 1;

/**
 * Returns a duration of `least` or more milliseconds; `absent` if it is absent.
 *
 * @throws {TypeError | RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 */
export function milliseconds(name: string, value: unknown, absent: number, least = 0): number {
  if (value === undefined) return absent;
  if (typeof value !== 'number') throw argumentTypeError(name, 'a number', value);
  if (value >= least) return value;
  const error = new RangeError(
    `The value of "${name}" must be ${least} or more. Received ${value}`,
  );
  throw Object.assign(error, { code: 'ERR_OUT_OF_RANGE' });
}

/**
 * Returns a whole number from 0 to `most`; `absent` if it is absent.
 *
 * @throws {TypeError | RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 */
export function count(name: string, value: unknown, absent: number, most: number): number {
  if (value === undefined) return absent;
  if (typeof value !== 'number') throw argumentTypeError(name, 'a number', value);
  if (Number.isInteger(value) && value >= 0 && value <= most) return value;
  const error = new RangeError(
    `The value of "${name}" must be a whole number from 0 to ${most}. Received ${value}`,
  );
  throw Object.assign(error, { code: 'ERR_OUT_OF_RANGE' });
}

/**
 * Returns the option `unload`; `auto` if it is absent.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE`
 */
export function unloadPolicy(name: string, value: unknown): UnloadPolicy {
  return oneOf(name, value, ['auto', 'always', 'never']);
}

/**
 * Returns a function that an option names; `undefined` if it is absent.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`
 */
export function callback<Call>(name: string, value: unknown): Call | undefined {
  if (value === undefined || typeof value === 'function') return value as Call | undefined;
  throw argumentTypeError(name, 'a function', value);
}
