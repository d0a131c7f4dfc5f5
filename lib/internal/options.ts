import type { UnloadPolicy } from '../image/image-info.js';
import { argumentTypeError, argumentValueError } from './errors.js';

/** An options object, or a `TypeError`. */
export function checkOptions(options: unknown): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw argumentTypeError('options', 'an object', options);
  }
}

/** `value`, or the first of `allowed` where it is absent. */
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

/** A boolean, `false` where it is absent. */
export function flag(name: string, value: unknown): boolean {
  if (value === undefined || typeof value === 'boolean') return value ?? false;
  throw argumentTypeError(name, 'a boolean', value);
}

/** The longest time that Node's timers can wait for, in milliseconds. */
export const longestTimer = 2 ** 31 - 1;

/** A duration, or `byDefault` where it is absent. */
export function milliseconds(name: string, value: unknown, byDefault: number): number {
  if (value === undefined) return byDefault;
  if (typeof value !== 'number') throw argumentTypeError(name, 'a number', value);
  if (value >= 0) return value;
  const error = new RangeError(`The value of "${name}" must be 0 or more. Received ${value}`);
  throw Object.assign(error, { code: 'ERR_OUT_OF_RANGE' });
}

/** What becomes of old images; `auto` where it is absent. */
export function unloadPolicy(value: unknown): UnloadPolicy {
  return oneOf('options.unload', value, ['auto', 'always', 'never']);
}
