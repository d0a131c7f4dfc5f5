import type { Definitions } from '../call/types.js';
import type { FileStatus } from '../image/file-status.js';
import { SoError } from '../internal/errors.js';
import { runAsync, runSync, type Steps } from '../internal/steps.js';
import { traceOf } from '../internal/trace.js';
import { type Traced, traced, tracedSync } from '../internal/tracing.js';
import { abortedBy } from './limit.js';
import type { SwapPlan } from './plan.js';
import type { SwapReport } from './report.js';
import type { SwapTarget } from './target.js';
import { type Companion, reportingTo } from './together.js';
import {
  commit,
  type Partner,
  type Prepared,
  prepare,
  prepareEach,
  type Reports,
  transaction,
} from './transaction.js';

/** What a swap of several handles is to do with one of them. */
export interface PlannedSwap {
  readonly turns: Turns;
  readonly plan: SwapPlan<Definitions>;
}

/** What a handle is swapped with: the members of its group, or its own copies of its dependencies. */
export interface Company {
  /** The handles whose swaps line up with each other; `undefined`: only its own. */
  readonly members?: readonly Turns[];
  /** Returns the swaps that must take effect together with these. */
  companionsOf(planned: readonly PlannedSwap[]): readonly (PlannedSwap & Companion)[];
  /** The first halves of the swaps of members among these, in the order of their needs. */
  prepare(planned: readonly PlannedSwap[], began: bigint): Steps<Prepared[]>;
  /** Refuses to close a member while another one is bound to it. @throws {SoError} `ERR_SOSWAP_NEEDED` */
  assertClosable(member: Turns): void;
}

/** The swaps of one handle: one at a time, in the order they were asked for. */
export class Turns<D extends Definitions = Definitions> {
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    readonly target: SwapTarget<D>,
    readonly handle: Traced,
    readonly company?: Company,
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
    asked: readonly Turns[],
    work: () => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    let state: 'waiting' | 'begun' | 'given up' = 'waiting';
    const all = [...new Set(asked.flatMap((turns) => turns.company?.members ?? turns))];
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
        if (state === 'waiting') giveUp(abortedBy(signal, asked[0]?.target.path ?? ''));
      };
      const ignore = asked.map(({ target }) =>
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
    operation: 'swap' | 'watch' | 'rollback' = 'swap',
  ): Promise<SwapReport> {
    return traced(operation, [this.handle], async () => {
      const reports = await runAsync(this.#swap(plan, began, operation === 'watch'));
      return reports.get(this.target) as SwapReport;
    });
  }

  /** The first half of a swap, and of those that must take effect with it. The caller has lined up. */
  async prepare(plan: SwapPlan<D>, began: bigint): Promise<readonly Prepared[]> {
    const { planned } = together([this.#planned(plan)]);
    for (const { target } of planned.map(({ turns }) => turns)) {
      if (target.prepared === undefined) continue;
      throw target.busy('a prepared swap waits; commit or discard it');
    }
    const all = await runAsync(underWay(planned, prepareAll(planned, began)));
    for (const prepared of all) prepared.target.prepared = prepared;
    return all;
  }

  /** The second half. The caller has lined up. */
  async commit(all: readonly Prepared[]): Promise<SwapReport> {
    const { target } = this;
    const own = all.find((each) => each.target === target) as Prepared;
    if (isStale(all)) throw stale(target.path);
    const { planned, companions } = together([this.#planned(own.plan)]);
    const known = all.map((each) => each.target);
    if (!planned.every(({ turns }) => known.includes(turns.target))) throw stale(target.path); // another member needs it now
    for (const each of all) each.target.prepared = undefined; // from here on its commit owns it
    return traced('commit', [this.handle], async () => {
      const steps = reportingTo(companions, underWay(planned, commit(all)));
      return (await runAsync(steps)).get(target) as SwapReport;
    });
  }

  /** Takes a prepared swap back, unless its commit has begun or it is over. */
  discard(all: readonly Prepared[]): void {
    for (const prepared of all.toReversed()) {
      if (prepared.target.prepared === prepared) prepared.target.dropPrepared();
    }
  }

  /** One swap of several handles: all or none. The caller has lined up with all of them. */
  static async swapAll(planned: readonly PlannedSwap[], began: bigint): Promise<Reports> {
    const handles = planned.map(({ turns }) => turns.handle);
    let reports: Reports = new Map();
    await traced('swapAll', handles, async () => {
      reports = await runAsync(swapTogether(planned, began));
      return planned.map(({ turns }) => reports.get(turns.target));
    });
    return reports;
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
      const status = await runAsync(this.target.fileStatus(plan));
      if (running === this.target.running) return isCurrent(status); // no swapSync() came in between
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
      return runSync(this.#swap(plan, began)).get(target) as SwapReport;
    });
  }

  /** Refuses to close the handle while something uses it. @throws {SoError} `ERR_SOSWAP_BUSY`, `ERR_SOSWAP_NEEDED` */
  assertClosable(): void {
    this.target.assertIdle();
    this.company?.assertClosable(this as Turns);
  }

  #planned(plan: SwapPlan<D> | Prepared['plan']): PlannedSwap {
    return { turns: this as Turns, plan: plan as SwapPlan<Definitions> };
  }

  #swap(plan: SwapPlan<D>, began: bigint, triesAgain?: boolean): Steps<Reports> {
    return swapTogether([this.#planned(plan)], began, triesAgain);
  }
}

/** One swap of several handles, and of those that must take effect with them. */
function swapTogether(
  asked: readonly PlannedSwap[],
  began: bigint,
  triesAgain?: boolean,
): Steps<Reports> {
  const { planned, companions } = together(asked);
  const steps = underWay(planned, transaction(prepareAll(planned, began)));
  return reportingTo(companions, steps, triesAgain);
}

/** Whether one of the first halves is over, of swaps that were prepared together. */
export function isStale(all: readonly Prepared[]): boolean {
  return all.some((prepared) => prepared.target.prepared !== prepared);
}

/** Adds the swaps that must take effect with these. */
function together(asked: readonly PlannedSwap[]) {
  const companies = new Set(asked.flatMap(({ turns }) => turns.company ?? []));
  const companions = [...companies].flatMap((company) => company.companionsOf(asked));
  return { planned: [...asked, ...companions], companions };
}

function prepareAll(planned: readonly PlannedSwap[], began: bigint): Steps<Prepared[]> {
  const companies = new Set(planned.map(({ turns }) => turns.company ?? turns));
  const halves = [...companies].map((each) => {
    if (!(each instanceof Turns)) return each.prepare(planned, began);
    const { plan } = planned.find(({ turns }) => turns === each) as PlannedSwap;
    return alone(prepare(each.target, plan, began, { partners: partnersOf(each, planned) }));
  });
  return prepareEach(halves);
}

/** The other swaps of the same transaction. */
export function partnersOf(own: Turns, planned: readonly PlannedSwap[]): Partner[] {
  const others = planned.filter(({ turns }) => turns !== own);
  return others.map(({ turns, plan }) => ({ target: turns.target, plan }));
}

function* alone(half: Steps<Prepared>): Steps<Prepared[]> {
  return [yield* half];
}

/** Marks that the steps of a swap run. */
function* underWay<T>(planned: readonly PlannedSwap[], steps: Steps<T>): Steps<T> {
  const targets = planned.map(({ turns }) => turns.target);
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

/** Whether there is no file that a swap of its own accord should take. */
function isCurrent(status: FileStatus): boolean {
  return status === 'current' || status === 'rolled-back';
}

function stale(path: string): SoError {
  const message = `cannot commit the swap of '${path}': it was committed or discarded, or the handle has moved on; prepare it anew`;
  return new SoError('ERR_SOSWAP_STALE_PREPARATION', message, path);
}
