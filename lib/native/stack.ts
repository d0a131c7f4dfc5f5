import { native } from './addon.js';

/** 48 KiB as arguments of eight bytes each. A public method needs less below its first frame. */
const reserve: unknown[] = new Array(6144).fill(undefined);

/** The lowest address of the stack of this thread that is known to have the reserve below it. */
let lowestProven = Number.POSITIVE_INFINITY;

const settled = Promise.resolve();

/**
 * Throws the RangeError of a full stack if the stack has no room for a public method, which would otherwise fail
 * halfway. Passes 48 KiB of arguments to a function that ignores them, unless that succeeded at such a depth before.
 *
 * @param onFull Called with the error later, when the stack is empty again.
 */
export function reserveStack(onFull?: (error: unknown) => void): void {
  const address = native.stackAddress();
  if (address >= lowestProven) return;
  try {
    Reflect.apply(Function.prototype as () => void, undefined, reserve);
    lowestProven = address;
  } catch (error) {
    // then() is a builtin, which works on a full stack too.
    if (onFull !== undefined) settled.then(() => onFull(error));
    throw error;
  }
}
