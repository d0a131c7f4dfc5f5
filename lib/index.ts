export { SoError, type SoErrorCode } from './errors.js';
export type { FileStatus } from './file-status.js';
export {
  inspect,
  type SoDependency,
  type SoExport,
  type SoImport,
  type SoInfo,
  type UnloadVerdict,
} from './inspect.js';
export { install } from './install.js';
export { type LoadedImage, loaded } from './loaded.js';
export type { ImageInfo, RetainReason, SwapOrder, SwapReport } from './report.js';
export { swapOnSignal } from './signals.js';
export type {
  ArgumentType,
  BoundFunctions,
  Definition,
  Definitions,
  FunctionFor,
  PointerLike,
  ReturnType,
} from './signature.js';
export { type HandleEvents, type OpenOptions, SoHandle } from './so-handle.js';
export type { SwapOptions, UnloadPolicy } from './swap-options.js';
export type { Watch, WatchOptions } from './watch.js';
