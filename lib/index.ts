/**
 * Hot-swaps native shared objects inside a running Node.js process.
 *
 * In the examples `price` is the handle that {@link SoHandle.open} shows. Everything works on the main thread and in
 * workers, unless said otherwise; a handle belongs to the thread that opened it.
 *
 * @module soswap
 */

export { SoError, SoErrorCode } from './errors.js';
export type { FileStatus } from './file-status.js';
export {
  inspect,
  type SoDependency,
  type SoExport,
  type SoImport,
  type SoInfo,
  type UnloadReason,
  type UnloadVerdict,
} from './inspect.js';
export { install } from './install.js';
export { type LoadedImage, loaded } from './loaded.js';
export { loadedTable } from './loaded-table.js';
export type { ImageInfo, RetainReason, SwapOrder, SwapReport } from './report.js';
export { swapOnSignal } from './signals.js';
export type {
  ArgumentType,
  ArgumentTypes,
  BoundFunctions,
  Definition,
  Definitions,
  FunctionFor,
  PointerLike,
  ReturnType,
  ReturnTypes,
} from './signature.js';
export { type HandleEvents, SoHandle } from './so-handle.js';
export type { OpenOptions } from './source.js';
export type { SwapOptions, UnloadPolicy } from './swap-options.js';
export type { Watch, WatchOptions } from './watch.js';
