/** Eight bytes for each: 64 KiB, more than any public method takes below its first frame. */
const room: unknown[] = new Array(8192).fill(undefined);

const settled = Promise.resolve();

/**
 * Throws the RangeError of a full stack unless there is room for all that a public method does: a stack that is full
 * half-way would leave it half done. Passes many arguments to a function that ignores them.
 *
 * @param onFull Called with the error later, when the stack is empty again.
 */
export function reserveStack(onFull?: (error: unknown) => void): void {
  try {
    Reflect.apply(Function.prototype as () => void, undefined, room);
  } catch (error) {
    // then() is a builtin, which works on a full stack too.
    if (onFull !== undefined) settled.then(() => onFull(error));
    throw error;
  }
}
