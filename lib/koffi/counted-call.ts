import { compiled } from '../call/compiled.js';

type Call = (...values: unknown[]) => unknown;

/** The blocking calls through koffi that this thread is in. */
export const blocking = { calls: 0 };

/**
 * Returns a function that counts its calls of `target` in {@link blocking}.
 *
 * @param counts How many arguments a call usually has.
 */
export function countedCall(target: Call, counts: readonly number[]): Call {
  const text = (parameters: string, call: string) =>
    `return function (${parameters}) { blocking.calls++; try { ${call} } finally { blocking.calls--; } };`;
  const plain: Call = (...values) => {
    blocking.calls++;
    try {
      return target(...values);
    } finally {
      blocking.calls--;
    }
  };
  return compiled(counts, text, { target, blocking }) ?? plain;
}
