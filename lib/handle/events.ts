import type { SoError } from '../internal/errors.js';
import type { SwapReport } from '../swap/report.js';

/** The events of a handle. Listeners are called on its thread. */
export interface HandleEvents {
  /** A swap took effect. */
  swap: [report: SwapReport];
  /** A swap failed; `outcome` of the error says what it left behind. */
  refused: [error: SoError];
}
