import { openHandles } from '../handle/registry.js';
import type { SoHandle } from '../handle/so-handle.js';
import { checkHandles } from '../handle/swap-all.js';
import { SoError } from '../internal/errors.js';
import { abortedBy } from '../swap/limit.js';
import { checkSwapOptions, planSwap, type SwapOptions } from '../swap/plan.js';
import type { SwapReport } from '../swap/report.js';

/** What became of one handle. */
export type SwapResult =
  | {
      /** The file had other bytes, and runs now. */
      readonly status: 'swapped';
      /** The handle. */
      readonly handle: SoHandle;
      /** What the swap did. */
      readonly report: SwapReport;
    }
  | {
      /** The file has the bytes that run, which keep their state. */
      readonly status: 'current';
      /** The handle. */
      readonly handle: SoHandle;
    }
  | {
      /** The file was not taken. */
      readonly status: 'refused';
      /** The handle. */
      readonly handle: SoHandle;
      /** Why; its `outcome` says what runs. */
      readonly error: SoError;
    };

/**
 * Swaps the handles whose file has other bytes than the image that runs, each by itself. The others keep their state. Each
 * handle that is not `current` emits `swap` or `refused`.
 *
 * @param handles Handles of this thread, each once. Defaults to all handles of this thread that are open.
 * @param options The options of each swap, before those that the handle was opened with.
 * @returns What became of each handle, in their order. A refused file does not reject it.
 * @throws {TypeError | RangeError} A wrong argument: `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`.
 *
 * @example
 * for (const result of await swapChanged([price], { order: 'open-first' })) {
 *   if (result.status === 'refused') console.error(result.handle.path, result.error.message);
 *   else console.log(result.handle.generation, result.status); // 1 current
 * }
 */
export async function swapChanged(
  handles: Iterable<SoHandle> | undefined = undefined,
  options: SwapOptions = {},
): Promise<SwapResult[]> {
  const all = checkHandles(handles ?? openHandles());
  const checked = checkSwapOptions('options', options);
  for (const [, { target }] of all) planSwap(checked, target.defaults, 'swap'); // before any of them is swapped
  return Promise.all(all.map(([handle]) => swapOne(handle, checked)));
}

async function swapOne(handle: SoHandle, options: SwapOptions): Promise<SwapResult> {
  try {
    const report = await handle.swap({ ...options, ifChanged: true });
    return report === null ? { status: 'current', handle } : { status: 'swapped', handle, report };
  } catch (thrown) {
    const aborted = thrown instanceof SoError ? undefined : abortedBy(options.signal, handle.path);
    const error = aborted ?? SoError.of(thrown, `cannot swap '${handle.path}'`, handle.path);
    return { status: 'refused', handle, error };
  }
}
