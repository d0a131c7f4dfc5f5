/** Eight bytes for each argument, more than a swap needs below its first frame: 64 KiB. */
const room: unknown[] = new Array(8192).fill(undefined);

/**
 * Throws the RangeError of a full stack unless there is room for all that a public method does: a stack that is full
 * half-way would leave it half done. Passes so many arguments to a function that ignores them.
 */
export function reserveStack(): void {
  Reflect.apply(Function.prototype as () => void, undefined, room);
}
