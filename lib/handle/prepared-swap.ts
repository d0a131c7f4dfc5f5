import type { EventEmitter } from 'node:events';
import type { CandidateInfo } from '../image/image-info.js';
import { emitOutcomeAsync } from '../internal/events.js';
import type { SwapReport } from '../swap/report.js';
import type { Prepared } from '../swap/transaction.js';
import { isStale, type Turns } from '../swap/turns.js';

/**
 * A swap that lacks nothing but its commit. It holds the copy of the file, and with `open-first` the loaded image, until
 * it is committed or discarded, or its handle is swapped by other means or closed.
 *
 * @example
 * await using prepared = await price.prepare(); // discarded at the end of the block, unless it was committed
 * if (prepared.candidate.size < 1_000_000) await prepared.commit();
 */
export class PreparedSwap {
  /** The file that was copied, and the generation that it would be. */
  readonly candidate: CandidateInfo;

  readonly #handle: EventEmitter & { path: string };
  readonly #turns: Turns;
  readonly #signal: AbortSignal | undefined;
  /** With those that must take effect with it. */
  readonly #prepared: readonly Prepared[];

  /** @internal */
  constructor(
    handle: EventEmitter & { path: string },
    turns: Turns,
    prepared: readonly Prepared[],
  ) {
    const own = prepared.find(({ target }) => target === turns.target) as Prepared;
    this.candidate = own.next.candidateInfo;
    this.#signal = own.plan.signal;
    this.#handle = handle;
    this.#turns = turns;
    this.#prepared = prepared;
  }

  /** Whether it is over: {@link commit} would reject with `ERR_SOSWAP_STALE_PREPARATION`. */
  get stale(): boolean {
    return isStale(this.#prepared);
  }

  /**
   * Makes the candidate take effect: with `close-first` it waits for calls in flight, closes the old image and loads the
   * new one; with `open-first` it only makes all calls run the image that is loaded already. A commit that fails
   * leaves nothing prepared.
   *
   * @returns What the swap did, preparation included. Rejects with `ERR_SOSWAP_STALE_PREPARATION`; and as
   * {@link SoHandle.swap}, with `ERR_SOSWAP_BUSY` after `timeout` has passed.
   *
   * @example
   * const prepared = await price.prepare({ order: 'open-first' });
   * const { generation } = await prepared.commit();
   * console.log(generation); // 2
   */
  commit(): Promise<SwapReport> {
    const commit = () => this.#turns.commit(this.#prepared);
    return emitOutcomeAsync(this.#handle, () => this.#turns.lineUp(commit, this.#signal));
  }

  /**
   * Gives the candidate up: its image, if it was loaded, is unmapped, and its copy released. Does nothing after a commit.
   *
   * @example
   * const prepared = await price.prepare();
   * prepared.discard();
   * console.log(prepared.stale, price.generation); // true 1
   */
  discard(): void {
    this.#turns.discard(this.#prepared);
  }

  /**
   * As {@link discard}, at the end of the block.
   *
   * @example
   * using prepared = await price.prepare();
   * console.log(prepared.candidate.generation); // 2
   */
  [Symbol.dispose](): void {
    this.discard();
  }

  /**
   * As {@link discard}, at the end of the block, after a commit that is under way.
   *
   * @example
   * await using prepared = await price.prepare();
   * console.log(prepared.candidate.generation); // 2
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#turns.over();
    this.discard();
  }
}
