/** The type of T in JSON: 64-bit integers are strings of decimal digits. */
export type Json<T> = T extends bigint
  ? string
  : T extends (...args: never[]) => unknown
    ? never
    : T extends readonly (infer Item)[]
      ? Json<Item>[]
      : T extends object
        ? { [Key in keyof T as Key extends 'toJSON' ? never : Key]: Json<T[Key]> }
        : T;

/**
 * Adds a `toJSON()` to `object`, which converts each bigint property to a string. Nested objects need their own one.
 */
export function withJson<T extends object>(object: T): T & { toJSON(): Json<T> } {
  return Object.defineProperty(object, 'toJSON', { value: toJSON }) as T & { toJSON(): Json<T> };
}

function toJSON(this: object): object {
  const entries = Object.entries(this);
  return Object.fromEntries(
    entries.map(([key, value]) => [key, typeof value === 'bigint' ? String(value) : value]),
  );
}
