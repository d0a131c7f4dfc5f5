import type { Definitions } from '../call/types.js';
import { SoError } from '../internal/errors.js';
import { runAsync, runSync, type Steps } from '../internal/steps.js';
import { traceOf } from '../internal/trace.js';
import { type Traced, traced, tracedSync } from '../internal/tracing.js';
import { abortedBy } from './limit.js';
import type { SwapPlan } from './plan.js';
import type { SwapReport } from './report.js';
import type { SwapTarget } from './target.js';
import { commit, type Prepared, prepare, transaction } from './transaction.js';

/** The swaps of one handle: one at a time, in the order they were asked for. */
export class Turns<D extends Definitions = Definitions> {
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    readonly target: SwapTarget<D>,
    readonly handle: Traced,
  ) {}

  /** Runs `work` when what was lined up before is over; {@link lineUpAll}. */
  lineUp<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return Turns.lineUpAll([this], work, signal);
  }

  /** Resolves when what was lined up before is over. */
  async over(): Promise<void> {
    await this.#last;
  }

  /**
   * Runs `work` when what was lined up before with these handles is over. All get their place at once, so that no two
   * works wait for each other. Rejects as soon as a handle is closed meanwhile, unless its swap has taken effect; what has begun
   * ends by itself.
   *
   * @param signal Whose abort ends the wait for the turn. What has begun must look at the signal itself.
   */
  static lineUpAll<T>(
    all: readonly Turns[],
    work: () => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    let state: 'waiting' | 'begun' | 'given up' = 'waiting';
    const before = Promise.all(all.map((turns) => turns.#last));
    return new Promise((resolve, reject) => {
      const giveUp = (why: unknown) => {
        if (state === 'waiting') state = 'given up';
        reject(why);
      };
      const turn = before.then(() => {
        if (state === 'given up') return undefined as T; // it is settled
        state = 'begun';
        return work();
      });
      const abort = () => {
        if (state === 'waiting') giveUp(abortedBy(signal, all[0]?.target.path ?? ''));
      };
      const ignore = all.map(({ target }) =>
        target.ending.listen(() => {
          if (state === 'waiting' || !target.committed) giveUp(target.closedError());
        }),
      );
      if (signal?.aborted) abort();
      signal?.addEventListener('abort', abort, { once: true });
      const over = turn.then(resolve, reject).then(() => {
        signal?.removeEventListener('abort', abort);
        for (const each of ignore) each();
      });
      for (const turns of all) turns.#last = over;
    });
  }

  /** Swaps while the event loop goes on. The caller has lined up. */
  swap(
    plan: SwapPlan<D>,
    began: bigint,
    operation: 'swap' | 'watch' = 'swap',
  ): Promise<SwapReport> {
    return traced(operation, [this.handle], async () => {
      const [report] = await runAsync(this.#swap(plan, began));
      return report as SwapReport;
    });
  }

  /** The first half of a swap. The caller has lined up. */
  async prepare(plan: SwapPlan<D>, began: bigint): Promise<Prepared> {
    const { target } = this;
    if (target.prepared !== undefined) {
      throw target.busy('a prepared swap waits; commit or discard it');
    }
    const prepared = await runAsync(underWay([target], prepare(target, plan, began)));
    target.prepared = prepared;
    return prepared;
  }

  /** The second half. The caller has lined up. */
  async commit(prepared: Prepared): Promise<SwapReport> {
    const { target } = this;
    if (target.prepared !== prepared) throw stale(target.path);
    target.prepared = undefined; // from here on its commit owns it
    return traced('commit', [this.handle], async () => {
      const [report] = await runAsync(underWay([target], commit([prepared])));
      return report as SwapReport;
    });
  }

  /** Takes a prepared swap back, unless its commit has begun or it is over. */
  discard(prepared: Prepared): void {
    if (this.target.prepared === prepared) this.target.dropPrepared();
  }

  /** One swap of several handles: all or none. The caller has lined up with all of them. */
  static swapAll(all: readonly PlannedSwap[], began: bigint): Promise<SwapReport[]> {
    const targets = all.map(({ turns }) => turns.target);
    const partners = all.map(({ turns, plan }) => ({ target: turns.target, plan }));
    const prepares = partners.map((own) =>
      prepare(
        own.target,
        own.plan,
        began,
        partners.filter((other) => other !== own),
      ),
    );
    const handles = all.map(({ turns }) => turns.handle);
    return traced('swapAll', handles, () => runAsync(underWay(targets, transaction(prepares))));
  }

  /** Swaps unless the file has the bytes of the one that runs: returns `null` then. The caller has lined up. */
  async swapIfChanged(
    plan: SwapPlan<D>,
    began: bigint,
    operation: 'swap' | 'watch',
  ): Promise<SwapReport | null> {
    const isCurrent = await this.#isCurrent(plan);
    traceOf(this.target.path, began)(`${operation}: ${isCurrent ? 'no new file' : 'a new file'}`);
    return isCurrent ? null : this.swap(plan, began, operation);
  }

  /** @throws {SoError} `ERR_SOSWAP_BEING_WRITTEN`, and what {@link fileStatus} throws. */
  async #isCurrent(plan: SwapPlan<D>): Promise<boolean> {
    for (;;) {
      const { running } = this.target;
      if (!running.image.isOpen) return false; // a swap failed, and left none
      const status = await runAsync(running.fileStatus(plan));
      if (running === this.target.running) return status === 'current'; // no swapSync() came in between
    }
  }

  /**
   * Swaps in one go, or refuses.
   *
   * @throws {SoError} `ERR_SOSWAP_BUSY`: calls are in flight, or another swap is under way.
   */
  swapSync(plan: SwapPlan<D>, began: bigint): SwapReport {
    const { target } = this;
    target.assertIdle();
    if (target.swapping) throw target.busy('a swap is under way');
    return tracedSync('swapSync', [this.handle], () => {
      const [report] = runSync(this.#swap(plan, began));
      return report as SwapReport;
    });
  }

  #swap(plan: SwapPlan<D>, began: bigint): Steps<SwapReport[]> {
    return underWay([this.target], transaction([prepare(this.target, plan, began)]));
  }
}

/** Marks that the steps of a swap run. */
function* underWay<T>(targets: readonly SwapTarget[], steps: Steps<T>): Steps<T> {
  for (const target of targets) target.swapping = true;
  try {
    return yield* steps;
  } finally {
    for (const target of targets) {
      target.swapping = false;
      target.committed = false;
    }
  }
}

function stale(path: string): SoError {
  const message = `cannot commit the swap of '${path}': it was committed or discarded, or the handle has moved on; prepare it anew`;
  return new SoError('ERR_SOSWAP_STALE_PREPARATION', message, path);
}

/** What a swap of several handles is to do with one of them. */
export interface PlannedSwap {
  readonly turns: Turns;
  readonly plan: SwapPlan<Definitions>;
}
