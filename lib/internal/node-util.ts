/**
 * Functions of node:util. The first call of one loads the module, because its import takes 2 to 3 ms (Node.js 22 and
 * later), and most programs need none of them.
 *
 * @module
 */

type Call = (...values: unknown[]) => unknown;

const util = () => process.getBuiltinModule('node:util');

export const inspect = (value: unknown, options: { readonly depth: number }): string =>
  util().inspect(value, options);

export const isUint8Array = (value: unknown): value is Uint8Array =>
  util().types.isUint8Array(value);

export const systemErrors = (): Map<number, [string, string]> => util().getSystemErrorMap();

export const promisify = ((call: Call): Call =>
  (...values) => {
    const promising: Call = util().promisify(call);
    return promising(...values);
  }) as typeof import('node:util').promisify;
