export { SoError, type SoErrorCode } from './errors.js';
export type { ImageInfo, RetainReason, SwapOrder, SwapReport } from './report.js';
export type {
  ArgumentType,
  BoundFunctions,
  Definition,
  Definitions,
  FunctionFor,
  ReturnType,
} from './signature.js';
export { type FileStatus, type OpenOptions, SoHandle } from './so-handle.js';
export type { SwapOptions, UnloadPolicy } from './swap-options.js';
