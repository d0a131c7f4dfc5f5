type Call = (...values: unknown[]) => unknown;

let texts = 0;

/**
 * Returns a function that V8 compiles for itself alone: what V8 learns about a call holds for all functions that were made
 * of one text, and a call whose target varies costs 20 ns more. `undefined` if the process forbids to make code from text.
 *
 * @param counts How many arguments a call usually has: such a call of `target` makes no array of them.
 * @param body Makes the text of a function's creation from its parameters and from the text of the call of `target`.
 * @param scope What the text can use.
 */
export function compiled(
  counts: readonly number[],
  body: (parameters: string, call: string) => string,
  scope: Readonly<Record<string, unknown>>,
): Call | undefined {
  const names = Array.from({ length: Math.max(...counts) }, (_, index) => `a${index}`);
  const cases = counts.map((count) => `case ${count}: return target(${names.slice(0, count)});`);
  const call = `switch (arguments.length) { ${cases.join(' ')} default: return target(...arguments); }`;
  const text = `// ${++texts}\n${body(names.join(), call)}`; // V8 knows a text again
  try {
    return new Function(...Object.keys(scope), text)(...Object.values(scope));
  } catch (error) {
    if (error instanceof EvalError) return undefined; // --disallow-code-generation-from-strings
    throw error;
  }
}
