import type { UnloadPolicy } from '../image/image-info.js';
import { argumentTypeError, argumentValueError } from './errors.js';

/**
 * Checks that a value is an object of options.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`
 */
export function checkOptions(options: unknown): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw argumentTypeError('options', 'an object', options);
  }
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
 * Returns the option `unload`; `auto` if it is absent.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE`
 */
export function unloadPolicy(value: unknown): UnloadPolicy {
  return oneOf('options.unload', value, ['auto', 'always', 'never']);
}
