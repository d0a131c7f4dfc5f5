/**
 * Structures, callbacks, variadic functions and variables that follow swaps, by [koffi](https://www.npmjs.com/package/koffi) 3.3
 * or later, which the program installs beside soswap. docs/koffi.md is the guide to it.
 *
 * @module soswap/koffi
 */

export { registered, unregister } from './koffi/callbacks.js';
export { koffiFunctions } from './koffi/functions.js';
export type {
  AnyCallable,
  KoffiAsync,
  KoffiDefinition,
  KoffiFunction,
  KoffiFunctions,
  KoffiFunctionsOf,
  KoffiPrototype,
  KoffiPrototypes,
  KoffiType,
  ResultOf,
} from './koffi/types.js';
export { type KoffiVariable, koffiVariable } from './koffi/variable.js';
