import type { CloseResult, ImageInfo } from '../image/image-info.js';
import type { SoError } from '../internal/errors.js';
import type { SwapReport } from '../swap/report.js';

/**
 * The events of a handle, emitted on its thread. The diagnostics channels `soswap:swap`, `soswap:refused`,
 * `soswap:rolledback` and `soswap:unmapped` publish them too, as `{ handle, report }`, `{ handle, error }`,
 * `{ handle, report, cause }` and `{ handle, image }`. If a listener or a subscriber throws, that is an uncaught
 * exception, and changes nothing about the swap. Wrong arguments emit no event, and a watch emits none while it tries
 * again: while the file is being written or absent, or calls are in flight.
 */
export interface HandleEvents {
  /** A swap took effect. */
  swap: [report: SwapReport];
  /**
   * A generation failed its probation, and the handle went back: `report` is that of the swap back, `cause` what the last
   * call threw, or an error that tells what it returned. Comes after `swap`.
   */
  rolledback: [report: SwapReport, cause: unknown];
  /** A retained image of an earlier generation was unmapped after all: its threads have ended, say. */
  unmapped: [image: ImageInfo];
  /** The handle was closed. */
  close: [result: CloseResult];
  /** A watch of the handle has found no file at its path, once each time that the file goes. The image runs on. */
  missing: [path: string];
  /** A callback that `soswap/koffi` registered threw outside of a blocking call. An uncaught exception if nobody listens. */
  error: [error: unknown];
  /** A swap failed; `outcome` of the error says what it left behind. */
  refused: [error: SoError];
}
