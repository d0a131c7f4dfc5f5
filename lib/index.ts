/**
 * Hot-swaps native shared objects inside a running Node.js process.
 *
 * In the examples `price` is the handle that {@link SoHandle.open} shows. Everything works on the main thread and in
 * workers, unless said otherwise; a handle belongs to the thread that opened it.
 *
 * @module soswap
 */

export type {
  EnteredCall,
  SymbolReference,
  SymbolReferenceOptions,
} from './call/symbol-reference.js';
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
  WithErrno,
} from './call/types.js';
export { type FastCalls, type Features, features } from './facts/features.js';
export {
  inspect,
  type SoInfo,
  type SoRefusal,
  type UnloadReason,
  type UnloadVerdict,
} from './facts/inspect.js';
export { type LoadedImage, loaded } from './facts/loaded.js';
export { loadedTable } from './facts/loaded-table.js';
export type { SoRegistry } from './facts/registries.js';
export { install } from './files/install.js';
export { type GroupSwapOptions, type GroupWatchOptions, SoGroup } from './group/so-group.js';
export type { HandleEvents } from './handle/events.js';
export type { GroupOptions, OpenAsyncOptions, OpenOptions } from './handle/open-options.js';
export type { PreparedSwap } from './handle/prepared-swap.js';
export { type CloseOptions, type ExportedState, SoHandle } from './handle/so-handle.js';
export { swapAll } from './handle/swap-all.js';
export type { FileStatus } from './image/file-status.js';
export type {
  CandidateInfo,
  CloseResult,
  ImageInfo,
  LeftBehind,
  RetainReason,
  UnloadPolicy,
} from './image/image-info.js';
export { limitRetained, type RetainedLimit } from './image/retained-images.js';
export { SoError, SoErrorCode, type SwapOutcome } from './internal/errors.js';
export type { SwapTrace } from './internal/tracing.js';
export type { ProgramNames, SoDependency, SoExport, SoImport } from './native/types.js';
export { notifyService } from './reload/notify.js';
export { type SwapOnSignalOptions, swapOnSignal } from './reload/signals.js';
export { type SwapResult, swapChanged } from './reload/swap-changed.js';
export {
  type DirectoryOptions,
  type DirectoryWatch,
  watchDirectory,
} from './reload/watch-directory.js';
export type {
  ChangedSwapOptions,
  Migrate,
  Migration,
  QuarantineOptions,
  SwapOptions,
  Verify,
} from './swap/plan.js';
export type { ProbationOptions } from './swap/probation.js';
export type { SwapOrder, SwapReport } from './swap/report.js';
export type { Watch, WatchOptions } from './triggers/watch.js';
