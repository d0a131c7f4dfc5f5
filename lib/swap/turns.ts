import type { Definitions } from '../call/types.js';
import { SoError } from '../internal/errors.js';
import { longestTimer } from '../internal/options.js';
import { runAsync, runSync, type Steps } from '../internal/steps.js';
import { traceOf } from '../internal/trace.js';
import { abortedBy, within } from './limit.js';
import type { SwapPlan } from './plan.js';
import type { SwapReport } from './report.js';
import type { SwapTarget } from './target.js';
import { type Companion, reportingTo } from './together.js';
import {
  commit,
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

/** Handles that are bound to each other: the members of a group. */
export interface Company {
  readonly members: readonly Turns[];
  /** Returns the swaps that must take effect together with these. */
  companionsOf(planned: readonly PlannedSwap[]): readonly (PlannedSwap & Companion)[];
  /** The first halves of swaps of members, in the order of their needs. */
  prepare(planned: readonly PlannedSwap[], began: bigint): Steps<Prepared[]>;
  /** Refuses to close a member while another one is bound to it. @throws {SoError} `ERR_SOSWAP_NEEDED` */
  assertClosable(member: Turns): void;
}

/** The swaps of one handle: one at a time, in the order they were asked for. */
export class Turns<D extends Definitions = Definitions> {
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    readonly target: SwapTarget<D>,
    readonly company?: Company,
  ) {}

  /** Runs `work` when what was lined up before is over; {@link lineUpAll}. */
  lineUp<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return Turns.lineUpAll([this], work, signal);
  }

  /**
   * Runs `work` when what was lined up before with these handles is over. All get their place at once, so that no two
   * works wait for each other.
   *
   * @param signal Whose abort ends the wait. `work` runs all the same, and must look at the signal itself.
   */
  static async lineUpAll<T>(
    asked: readonly Turns[],
    work: () => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    const all = [...new Set(asked.flatMap((turns) => turns.company?.members ?? turns))];
    const before = Promise.all(all.map((turns) => turns.#last));
    const turn = before.then(work);
    const over = turn.catch(() => {});
    for (const turns of all) turns.#last = over;
    if (signal === undefined) return turn;
    await within(before, { timeout: longestTimer, signal });
    const aborted = abortedBy(signal, asked[0]?.target.path ?? '');
    if (aborted === undefined) return turn;
    turn.catch(() => {});
    throw aborted;
  }

  /** Swaps while the event loop goes on. The caller has lined up. */
  async swap(plan: SwapPlan<D>, began: bigint): Promise<SwapReport> {
    const reports = await runAsync(this.#swap(plan, began));
    return reports.get(this.target) as SwapReport;
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
    if (planned.length !== all.length) throw stale(target.path); // another member needs it now
    for (const each of all) each.target.prepared = undefined; // from here on its commit owns it
    const steps = reportingTo(companions, underWay(planned, commit(all)));
    return (await runAsync(steps)).get(target) as SwapReport;
  }

  /** Takes a prepared swap back, unless its commit has begun or it is over. */
  discard(all: readonly Prepared[]): void {
    for (const prepared of all.toReversed()) {
      if (prepared.target.prepared === prepared) prepared.target.dropPrepared();
    }
  }

  /** One swap of several handles: all or none. The caller has lined up with all of them. */
  static swapAll(planned: readonly PlannedSwap[], began: bigint): Promise<Reports> {
    return runAsync(swapTogether(planned, began));
  }

  /** The same unless the file is the one that runs. */
  async swapIfReplaced(plan: SwapPlan<D>): Promise<SwapReport | undefined> {
    const began = process.hrtime.bigint();
    const isCurrent = await this.#isCurrent();
    traceOf(this.target.path, began)(isCurrent ? 'watch: no new file' : 'watch: a new file');
    if (isCurrent) return undefined;
    return (await runAsync(this.#swap(plan, began, true))).get(this.target);
  }

  /** @throws {SoError} `ERR_SOSWAP_BEING_WRITTEN`, and what {@link fileStatus} throws. */
  async #isCurrent(): Promise<boolean> {
    for (;;) {
      const { running } = this.target;
      const status = await runAsync(running.candidate.fileStatus());
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
    return runSync(this.#swap(plan, began)).get(target) as SwapReport;
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
    if (!(each instanceof Turns)) {
      return each.prepare(
        planned.filter(({ turns }) => turns.company === each),
        began,
      );
    }
    const { plan } = planned.find(({ turns }) => turns === each) as PlannedSwap;
    return alone(prepare(each.target, plan, began));
  });
  return prepareEach(halves);
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
    for (const target of targets) target.swapping = false;
  }
}

function stale(path: string): SoError {
  const message = `cannot commit the swap of '${path}': it was committed or discarded, or the handle has moved on; prepare it anew`;
  return new SoError('ERR_SOSWAP_STALE_PREPARATION', message, path);
}
