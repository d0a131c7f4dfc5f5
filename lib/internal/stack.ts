/** 48 KiB as arguments of eight bytes each. A public method needs less below its first frame: 7 KiB, interpreted. */
const reserve: unknown[] = new Array(6144).fill(undefined);

const settled = Promise.resolve();

/**
 * Throws the RangeError of a full stack if the stack has no room for a public method, which would otherwise fail
 * halfway. Passes 48 KiB of arguments to a function that ignores them.
 *
 * @param onFull Called with the error later, when the stack is empty again.
 */
export function reserveStack(onFull?: (error: unknown) => void): void {
  try {
    Reflect.apply(Function.prototype as () => void, undefined, reserve);
  } catch (error) {
    // then() is a builtin, which works on a full stack too.
    if (onFull !== undefined) settled.then(() => onFull(error));
    throw error;
  }
}
