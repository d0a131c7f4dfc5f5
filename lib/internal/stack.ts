/** 64 KiB as arguments of eight bytes each. A swap needs less below its first frame. */
const reserve: unknown[] = new Array(8192).fill(undefined);

/**
 * Throws the RangeError of a full stack if the stack has no room for a public method, which would otherwise fail
 * halfway. Passes 64 KiB of arguments to a function that ignores them.
 */
export function reserveStack(): void {
  Reflect.apply(Function.prototype as () => void, undefined, reserve);
}
