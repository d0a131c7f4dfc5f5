import type { Definitions } from '../call/types.js';
import { longestTimer } from '../internal/options.js';
import { runAsync, runSync } from '../internal/steps.js';
import { traceOf } from '../internal/trace.js';
import { abortedBy, within } from './limit.js';
import type { SwapPlan } from './plan.js';
import type { SwapReport } from './report.js';
import type { SwapTarget } from './target.js';
import { transaction } from './transaction.js';

/** The swaps of one handle: one at a time, in the order they were asked for. */
export class Turns<D extends Definitions> {
  readonly #target: SwapTarget<D>;
  #last: Promise<unknown> = Promise.resolve();
  #isUnderWay = false;

  constructor(target: SwapTarget<D>) {
    this.#target = target;
  }

  /**
   * Runs `work` when what was lined up before is over.
   *
   * @param signal Whose abort ends the wait. `work` runs all the same, and must look at the signal itself.
   */
  async lineUp<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const before = this.#last;
    const turn = before.then(work);
    this.#last = turn.catch(() => {});
    if (signal === undefined) return turn;
    await within(before, { timeout: longestTimer, signal });
    const aborted = abortedBy(signal, this.#target.path);
    if (aborted === undefined) return turn;
    turn.catch(() => {});
    throw aborted;
  }

  /** Swaps while the event loop goes on. The caller has lined up. */
  async swap(plan: SwapPlan<D>, began: bigint): Promise<SwapReport> {
    this.#isUnderWay = true;
    try {
      return await runAsync(transaction(this.#target, plan, began));
    } finally {
      this.#isUnderWay = false;
    }
  }

  /** The same unless the file is the one that runs. */
  async swapIfReplaced(plan: SwapPlan<D>): Promise<SwapReport | undefined> {
    const began = process.hrtime.bigint();
    const isCurrent = await this.#isCurrent();
    traceOf(this.#target.path, began)(isCurrent ? 'watch: no new file' : 'watch: a new file');
    return isCurrent ? undefined : this.swap(plan, began);
  }

  /** @throws {SoError} `ERR_SOSWAP_BEING_WRITTEN`, and what {@link fileStatus} throws. */
  async #isCurrent(): Promise<boolean> {
    for (;;) {
      const { running } = this.#target;
      const status = await runAsync(running.candidate.fileStatus());
      if (running === this.#target.running) return status === 'current'; // no swapSync() came in between
    }
  }

  /**
   * Swaps in one go, or refuses.
   *
   * @throws {SoError} `ERR_SOSWAP_BUSY`: calls are in flight, or another swap is under way.
   */
  swapSync(plan: SwapPlan<D>, began: bigint): SwapReport {
    this.#target.assertIdle();
    if (this.#isUnderWay) throw this.#target.busy('a swap is under way');
    this.#isUnderWay = true;
    try {
      return runSync(transaction(this.#target, plan, began));
    } finally {
      this.#isUnderWay = false;
    }
  }
}
