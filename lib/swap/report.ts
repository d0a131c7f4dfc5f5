import type { ImageInfo, LeftBehind, RetainReason } from '../image/image-info.js';
import { type Json, withJson } from '../internal/json.js';

/**
 * `close-first`: a swap waits for calls in flight, closes the old image, then opens the new one. Unless the old one must
 * stay mapped, one image is loaded at a time: the new constructors can claim resources that the old image held.
 *
 * `open-first`: a swap opens the new image, which takes all calls at once, and closes the old one when its last call has
 * returned. No call waits, and if the loader refuses the new image, nothing has changed; both live for a moment.
 */
export type SwapOrder = 'close-first' | 'open-first';

/** What a swap did. */
export interface SwapReport {
  /** The path of the handle. */
  readonly path: string;
  /** The generation that runs now. */
  readonly generation: number;
  /** The order of the swap. */
  readonly order: SwapOrder;
  /** Whether the handle went back to an earlier generation: {@link SoHandle.rollback}, or a swap that failed its probation. */
  readonly rollback: boolean;
  /** The image that ran before. */
  readonly previous: ImageInfo;
  /** The image that runs now. */
  readonly current: ImageInfo;
  /** Whether the old image is unmapped; checked in the list of loaded objects after dlclose(3). */
  readonly unmapped: boolean;
  /** Why the old image is still mapped; empty if it is gone. */
  readonly retained: readonly RetainReason[];
  /** Optional symbols that the new image lacks: their functions throw `ERR_SOSWAP_MISSING_SYMBOL` until an image has them again. */
  readonly missing: readonly string[];
  /** The variables of SOSWAP_KEEP whose values the new image took over. */
  readonly kept: readonly string[];
  /** Those of the old image that the new one lacks, or has with another size or layout: their values are gone. */
  readonly reset: readonly string[];
  /** With `account: true` of {@link SoHandle.open}: what the old image has not given back; otherwise `null`. */
  readonly leftBehind: LeftBehind | null;
  /**
   * Microseconds that close, open, resolve and commit held the JavaScript thread, without what `open-first` does on other
   * threads. The copy, the checks, `verify` and `quarantine` of `swapSync()` hold it too, and count in
   * `totalMicroseconds` only.
   */
  readonly pauseMicroseconds: number;
  /** Microseconds from the call of `swap()` to its end, waiting included. */
  readonly totalMicroseconds: number;
  /** Called by JSON.stringify(): 64-bit fields become strings of decimal digits. */
  readonly toJSON: () => Json<Omit<SwapReport, 'toJSON'>>;
}

/** Makes a report that JSON.stringify() can write. */
export function swapReport(facts: Omit<SwapReport, 'toJSON'>): SwapReport {
  return withJson(facts);
}
