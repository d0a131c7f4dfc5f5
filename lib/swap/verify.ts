import { FunctionTable } from '../call/function-table.js';
import type { BoundFunctions, Definitions } from '../call/types.js';
import type { Candidate } from '../image/candidate.js';
import { Generation } from '../image/generation.js';
import type { Image } from '../image/image.js';
import { sweep } from '../image/sweep.js';
import { SoError } from '../internal/errors.js';
import { inspect } from '../internal/node-util.js';
import { type Steps, step } from '../internal/steps.js';
import { isThenable } from '../internal/thenable.js';
import { callsEnd, idle } from './drain.js';
import { exchange } from './exchange.js';
import { expired, type Limit, within } from './limit.js';
import type { Verify } from './plan.js';
import { SwapTarget } from './target.js';

/**
 * Loads the candidate beside the running image, lets the program judge its functions, and unmaps it again. A judgement
 * and its calls must end within the limit.
 *
 * @returns The image, still open, if unmapping it could crash the process: the loader returns it at the next open too.
 * @throws {SoError} `ERR_SOSWAP_VERIFY`; and what loading throws.
 */
export function* verify<D extends Definitions>(
  candidate: Candidate,
  definitions: D,
  judge: Verify<D>,
  limit: Limit,
): Steps<Image | undefined> {
  const trial = new Trial(candidate, definitions);
  let refusal: SoError | undefined;
  try {
    const verdict = yield* step(
      () => trial.judgeNow(judge),
      () => trial.judge(judge, limit),
    );
    if (verdict !== true && verdict !== undefined) throw new Error(wrongVerdict(verdict));
  } catch (cause) {
    refusal = refused(candidate, cause);
  }
  try {
    yield* trial.end(limit);
  } catch (cause) {
    refusal ??= refused(candidate, cause);
  }
  if (refusal === undefined) return trial.spare;
  if (trial.spare !== undefined) candidate.giveUp(trial.spare);
  throw refusal;
}

function wrongVerdict(verdict: unknown): string {
  const returned = `it returned ${inspect(verdict, { depth: 0 })}`;
  return verdict === false ? returned : `${returned}; true or nothing takes the candidate`;
}

/**
 * Gives up the image that {@link verify} left open, once the next one runs. The loader has returned the same image for
 * that, or not.
 */
export function endTrial(spare: Image, { candidate, image }: Generation): void {
  if (spare.facts.loaderName === image.facts.loaderName) spare.close(false);
  else candidate.giveUp(spare);
}

/** A trial of the candidate. */
class Trial<D extends Definitions> {
  /** The image, once the trial has ended and could not unmap it without danger. */
  spare: Image | undefined;

  readonly #candidate: Candidate;
  readonly #table: FunctionTable<D>;
  readonly #image: Image;
  readonly #standIns = new Map<Candidate, Image>();

  constructor(candidate: Candidate, definitions: D) {
    this.#candidate = candidate;
    this.#table = new FunctionTable(candidate.source, definitions);
    try {
      this.#image = candidate.openTrial(this.#standIns);
    } catch (error) {
      this.#endStandIns();
      throw error;
    }
    try {
      const target = new SwapTarget(candidate.source, definitions, this.#table);
      exchange(target, new Generation(0, candidate, this.#image), 'none');
    } catch (error) {
      this.#endIdle();
      if (this.spare !== undefined) candidate.giveUp(this.spare);
      throw error;
    }
  }

  get functions(): BoundFunctions<D> {
    return this.#table.functions;
  }

  judgeNow(judge: Verify<D>): unknown {
    const verdict = judge(this.functions);
    if (isThenable(verdict)) {
      Promise.resolve(verdict).catch(() => {}); // an unhandled rejection would end the process
      throw new Error('it returned a promise, which only swap() and openAsync() wait for');
    }
    if (this.#image.callsInFlight > 0) throw new Error('it left calls in flight');
    return verdict;
  }

  async judge(judge: Verify<D>, limit: Limit): Promise<unknown> {
    const verdict = await within(Promise.resolve(judge(this.functions)), limit);
    if (verdict === expired) throw new Error(`it did not settle within ${limit.timeout} ms`);
    return verdict;
  }

  /** Makes the functions throw at once; unmaps the image when no call is in flight in it. */
  *end(limit: Limit): Steps<void> {
    this.#table.close();
    yield* idle(this.#table, this.#image, limit);
    if (this.#image.callsInFlight === 0) return this.#endIdle();
    this.#candidate.leaveToCalls(this.#image);
    void callsEnd(this.#table, this.#image).then(() => {
      this.#endIdle();
      if (this.spare !== undefined) this.#candidate.giveUp(this.spare);
      sweep();
    });
    throw new Error('it left calls in flight');
  }

  #endIdle(): void {
    this.#image.unload(); // before the next image, which may be the same one, is loaded
    const stays = this.#candidate.hazards.length > 0 || this.#image.inUse.length > 0;
    if (stays) this.spare = this.#image;
    else this.#candidate.retire(this.#image, 'auto');
    this.#endStandIns();
  }

  /** One that a spare needs stays mapped with it, and the loader returns it too. */
  #endStandIns(): void {
    for (const [candidate, image] of [...this.#standIns].reverse()) candidate.retire(image, 'auto');
  }
}

function refused({ path }: Candidate, cause: unknown): SoError {
  const why = cause instanceof Error ? cause.message : String(cause);
  const message = `cannot use '${path}': verify() refused it: ${why}`;
  return new SoError('ERR_SOSWAP_VERIFY', message, path, undefined, { cause });
}
