import { tracingChannel } from 'node:diagnostics_channel';

/**
 * What the tracing channel `soswap:swap` publishes for each swap, as `diagnostics_channel.tracingChannel()` does: `start`
 * and `end` around what runs at once, `asyncStart` and `asyncEnd` when a promise has settled, and `error`. At the end the
 * object has `result` or `error` too.
 */
export interface SwapTrace {
  /** The method that was called; `watch` for a swap that a watch has started. */
  readonly operation: 'swap' | 'swapSync' | 'prepare' | 'commit' | 'swapAll' | 'watch' | 'rollback';
  /** The handles that are swapped: one, but for `swapAll`. */
  readonly handles: readonly object[];
  /** The paths of the handles. */
  readonly paths: readonly string[];
  /** What the method returns. */
  readonly result?: unknown;
  /** What the method throws, or rejects with. */
  readonly error?: unknown;
}

/** A handle, as far as traces are concerned. */
export interface Traced {
  readonly path: string;
}

const swaps = tracingChannel('soswap:swap');
const channels = [swaps.start, swaps.end, swaps.asyncStart, swaps.asyncEnd, swaps.error];

/** Runs `work`, and publishes it if anybody subscribes. */
export function traced<T>(
  operation: SwapTrace['operation'],
  handles: readonly Traced[],
  work: () => Promise<T>,
): Promise<T> {
  if (!hasSubscribers()) return work();
  return swaps.tracePromise(work, contextOf(operation, handles));
}

/** The same in one go. */
export function tracedSync<T>(
  operation: SwapTrace['operation'],
  handles: readonly Traced[],
  work: () => T,
): T {
  return hasSubscribers() ? swaps.traceSync(work, contextOf(operation, handles)) : work();
}

/** Bun's tracing channels do not say it themselves. */
function hasSubscribers(): boolean {
  return channels.some((each) => each.hasSubscribers);
}

function contextOf(operation: SwapTrace['operation'], handles: readonly Traced[]): SwapTrace {
  return { operation, handles, paths: handles.map(({ path }) => path) };
}
