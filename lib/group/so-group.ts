import { copyDefinitions } from '../call/signature.js';
import type { Definitions } from '../call/types.js';
import type { FileWatchOptions } from '../files/file-watch.js';
import {
  type GroupOptions,
  type OpenOptions,
  planOpen,
  readGroupOptions,
} from '../handle/open-options.js';
import { turnsOf } from '../handle/registry.js';
import { SoHandle } from '../handle/so-handle.js';
import { orOverwritten } from '../image/file-status.js';
import type { CloseResult } from '../image/image-info.js';
import { snapshotMapping } from '../image/mapping.js';
import { argumentValueError, SoError } from '../internal/errors.js';
import { rejectionOf } from '../internal/events.js';
import type { Unchecked } from '../internal/options.js';
import { runAsync, runSync } from '../internal/steps.js';
import { reserveStack } from '../native/stack.js';
import { loadFirst } from '../swap/first.js';
import { checkSwapOptions, planSwap, type SwapOptions } from '../swap/plan.js';
import type { SwapReport } from '../swap/report.js';
import { Outcome } from '../swap/together.js';
import { type PlannedSwap, Turns } from '../swap/turns.js';
import { readWatchOptions, type Watch } from '../triggers/watch.js';
import { Bonds } from './bonds.js';
import { type Attempt, GroupWatch } from './group-watch.js';

/** The options of a swap of a group: the same for all members, or a function that returns those of one. */
export type GroupSwapOptions = SwapOptions | ((member: SoHandle) => SwapOptions);

/** Returns the swap of one member. */
type Planner = (turns: Turns) => PlannedSwap;

/** The options of {@link SoGroup.watch}. */
export interface GroupWatchOptions extends FileWatchOptions {
  /** The options of each swap. Defaults to those of {@link SoHandle.swap}. */
  readonly swap?: GroupSwapOptions;
}

/**
 * Libraries that need each other. A member is bound to the images that the other members run, not to what the loader has by
 * that name, and a swap of one swaps all that are bound to it.
 *
 * @example
 * const group = new SoGroup();
 * const core = group.open('./libcore.so', { version: { return: 'int32' } });
 * const plugin = group.open('./plugin.so', { answer: { return: 'int32' } }); // needs libcore.so
 * const reports = await group.swap(); // all files that were replaced, as one
 * group.close();
 */
export class SoGroup implements Disposable {
  readonly #options: Unchecked<GroupOptions>;
  readonly #bonds = new Bonds();
  readonly #handles = new Map<Turns, SoHandle>();
  readonly #watches = new Set<GroupWatch>();
  #closed = false;

  /**
   * Makes a group without members.
   *
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`; a wrong value of an option is reported by {@link open}.
   */
  constructor(options: GroupOptions = {}) {
    this.#options = readGroupOptions(options);
  }

  /** The open members, each after those that it needs. */
  get members(): readonly SoHandle[] {
    return this.#bonds.inOrder.map((turns) => this.#handles.get(turns) as SoHandle);
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Loads a library as a member. What it needs of the group is opened before it: an entry of DT_NEEDED means the member with
   * that DT_SONAME, or else with that file name.
   *
   * @param path As for {@link SoHandle.open}.
   * @param definitions As for {@link SoHandle.open}.
   * @param options Those of the library alone.
   * @returns Its handle. `swap()`, `prepare()` and `watch()` of it swap the members that are bound to it too.
   * @throws {SoError} As {@link SoHandle.open}; `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_NOT_BOUND`, `ERR_SOSWAP_SHARED_NAME`, and
   * `ERR_SOSWAP_BUSY` while a swap of the group is under way.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`.
   *
   * @example
   * using group = new SoGroup({ unload: 'auto' });
   * const price = group.open('./libprice.so', { quote: { arguments: ['f64', 'u32'], return: 'f64' } });
   */
  open<const D extends Definitions = Record<never, never>>(
    path: string | URL,
    definitions: D = {} as D,
    options: OpenOptions = {},
  ): SoHandle<D> {
    reserveStack();
    const copy = copyDefinitions(definitions);
    const own = { ...this.#options, ...(options as object) };
    const { source, first } = planOpen<D>(path, own, 'open');
    if (source.mapping !== snapshotMapping) {
      const why = "must not be 'direct' in a group: only a private copy can be bound to a member";
      throw argumentValueError('options.image', why, options.image);
    }
    if (source.sourceOfDependency !== undefined) {
      const why = "must not be 'private' in a group: open the dependencies as members";
      throw argumentValueError('options.dependencies', why, 'private');
    }
    this.#assertOpen(source.path);
    const busy = this.#bonds.members.find(({ target }) => target.swapping);
    if (busy !== undefined) throw busy.target.busy('a swap of its group is under way');
    const binding = this.#bonds.bindingOf(source.path);
    const { target } = runSync(loadFirst(source, copy, first, binding));
    const handle = new SoHandle({ target, company: this.#bonds });
    const turns = turnsOf(handle) as Turns;
    this.#bonds.add(turns, handle);
    this.#handles.set(turns, handle as SoHandle);
    for (const watch of this.#watches) watch.add(handle as SoHandle);
    return handle;
  }

  /**
   * Makes all files take effect that were replaced since they were loaded, and loads the members that are bound to them
   * anew: as one swap, in which all take effect or none.
   *
   * @returns What each swap did, each after those that it needs; empty if no file was replaced. Rejects as {@link swapAll},
   * and with `ERR_SOSWAP_NOT_BOUND` or `ERR_SOSWAP_DEPENDENCY_CYCLE` where the new files do not fit together. A member whose
   * file is missing goes on, unless a file that it needs was replaced.
   *
   * @example
   * for (const { path, generation } of await group.swap()) console.log(path, generation);
   */
  async swap(options: GroupSwapOptions = {}): Promise<SwapReport[]> {
    reserveStack();
    this.#assertOpen('');
    const began = process.hrtime.bigint();
    const planner = this.#planner('options', options);
    return this.#lineUp(async () => {
      const replaced = await this.#replaced(planner);
      const { outcome, error, reports } = await this.#attempt(replaced, planner, began);
      if (error !== undefined) throw rejectionOf(outcome.refused(error));
      return reports;
    });
  }

  /**
   * Swaps whenever files of members have been replaced and are complete, as {@link swap} does. Members that are opened later
   * are watched too. While new files are refused, others take effect without them.
   *
   * @throws {SoError} `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_UNREADABLE`.
   * @throws {TypeError | RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`.
   *
   * @example
   * using watch = group.watch({ swap: { order: 'open-first' } });
   */
  watch(options: GroupWatchOptions = {}): Watch {
    const { swap, ...settings } = readWatchOptions(options);
    this.#assertOpen('');
    const planner = this.#planner('options.swap', swap);
    const watch = new GroupWatch(settings, {
      lineUp: (work) => this.#lineUp(work),
      replaced: async () => {
        const replaced = await this.#replaced(planner);
        return new Set(replaced.map((turns) => this.#handleOf(turns)));
      },
      attempt: (handles) => {
        const members = this.#bonds.members.filter((turns) => handles.has(this.#handleOf(turns)));
        return this.#attempt(members, planner, process.hrtime.bigint());
      },
      dependenciesOf: (member) => turnsOf(member)?.target.dependencyPaths ?? [],
      ended: (ended) => this.#watches.delete(ended),
    });
    this.#watches.add(watch);
    for (const member of this.members) watch.add(member);
    return watch;
  }

  /**
   * Closes all members, each before those that it needs. Closing again does nothing.
   *
   * @returns What became of each image, in the order in which they were closed.
   * @throws {SoError} `ERR_SOSWAP_BUSY` while a call is in flight in one of them; then all stay open.
   *
   * @example
   * console.log(group.close().every(({ unmapped }) => unmapped)); // true
   */
  close(): CloseResult[] {
    reserveStack();
    const members = this.members.toReversed();
    for (const turns of this.#bonds.members) turns.target.assertIdle();
    this.#closed = true;
    for (const watch of this.#watches) watch.close();
    return members.map((member) => member.close());
  }

  /**
   * As {@link close}, at the end of the block.
   *
   * @example
   * using group = new SoGroup();
   */
  [Symbol.dispose](): void {
    this.close();
  }

  #handleOf(turns: Turns): SoHandle {
    return this.#handles.get(turns) as SoHandle;
  }

  #assertOpen(path: string): void {
    if (!this.#closed) return;
    throw new SoError('ERR_SOSWAP_CLOSED', 'the group is closed', path);
  }

  /** Runs `work` when no swap of a member is under way. */
  #lineUp<T>(work: () => Promise<T>): Promise<T> {
    return Turns.lineUpAll(this.#bonds.members, work);
  }

  /** Returns what checks the options of one member's swap; has checked those of all that are open. */
  #planner(name: string, options: unknown): Planner {
    const isEach = typeof options === 'function';
    const all = isEach ? undefined : checkSwapOptions(name, options);
    return (turns) => {
      const own = isEach ? options(this.#handleOf(turns)) : all;
      return { turns, plan: planSwap(own, turns.target.defaults, 'swap', name) };
    };
  }

  /** The members whose files are others than those that run, and those that have no image. */
  async #replaced(planner: Planner): Promise<Turns[]> {
    const replaced: Turns[] = [];
    for (const turns of this.#bonds.members) {
      const { running } = turns.target;
      const status = await runAsync(orOverwritten(turns.target.fileStatus(planner(turns).plan)));
      const isNew = status === 'replaced' || status === 'overwritten';
      if (isNew || !running.image.isOpen) replaced.push(turns);
    }
    return replaced;
  }

  /** Swaps these members as one, with those that are bound to them. Reports what took effect. */
  async #attempt(
    some: readonly Turns[],
    planner: Planner,
    began: bigint,
  ): Promise<Attempt & { readonly reports: SwapReport[] }> {
    const all = this.#bonds.closureOf(some);
    const outcome = new Outcome(
      all.map((turns) => ({ handle: this.#handleOf(turns), target: turns.target })),
    );
    const planned = all.map(planner);
    if (planned.length === 0) return { outcome, reports: [] };
    try {
      const reports = await Turns.swapAll(planned, began);
      outcome.swapped(reports);
      return { outcome, reports: [...reports.values()] };
    } catch (error) {
      return { outcome, error, reports: [] };
    }
  }
}
