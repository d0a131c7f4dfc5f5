import type { FunctionTable } from '../call/function-table.js';
import type { BoundFunctions, Definitions } from '../call/signature.js';
import type { Candidate } from '../image/candidate.js';
import type { Image } from '../image/image.js';
import { SoError } from '../internal/errors.js';

type Verify<D extends Definitions> = (functions: BoundFunctions<D>) => unknown;

/** Loads the candidate beside the old image and lets the program judge its functions. */
export function verifySync<D extends Definitions>(
  candidate: Candidate,
  definitions: D,
  verify: Verify<D>,
): void {
  const trial = new Trial(candidate, definitions);
  try {
    const verdict = verify(trial.functions);
    if (isThenable(verdict)) {
      Promise.resolve(verdict).catch(() => {}); // its rejection would end the process
      throw new Error('it returned a promise, which only swap() waits for');
    }
    if (trial.busy) throw new Error('it left calls in flight');
    judge(verdict);
  } catch (cause) {
    throw refusal(candidate, cause);
  } finally {
    void trial.end();
  }
}

/** The same with a function that may return a promise. */
export async function verifyAsync<D extends Definitions>(
  candidate: Candidate,
  definitions: D,
  verify: Verify<D>,
): Promise<void> {
  const trial = new Trial(candidate, definitions);
  try {
    judge(await verify(trial.functions));
  } catch (cause) {
    throw refusal(candidate, cause);
  } finally {
    await trial.end();
  }
}

class Trial<D extends Definitions> {
  readonly #candidate: Candidate;
  readonly #table: FunctionTable<D>;
  readonly #image: Image;

  constructor(candidate: Candidate, definitions: D) {
    this.#candidate = candidate;
    this.#table = candidate.functionTable(definitions);
    this.#image = candidate.try();
    this.#table.commit(this.#image);
  }

  get functions(): BoundFunctions<D> {
    return this.#table.functions;
  }

  get busy(): boolean {
    return this.#image.callsInFlight > 0;
  }

  /** The functions are dead at once; the image goes as soon as no call is in flight in it. */
  async end(): Promise<void> {
    this.#table.close();
    if (this.busy) await this.#table.idle(this.#image);
    this.#candidate.endTrial(this.#image);
  }
}

function judge(verdict: unknown): void {
  if (verdict === false) throw new Error('it returned false');
}

function refusal({ path }: Candidate, cause: unknown): SoError {
  const why = cause instanceof Error ? cause.message : String(cause);
  const message = `cannot use '${path}': verify() refused it: ${why}`;
  return new SoError('ERR_SOSWAP_VERIFY', message, path, undefined, { cause });
}

function isThenable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'then' in value;
}
