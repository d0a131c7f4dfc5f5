import { argumentTypeError } from '../internal/errors.js';
import { rethrowLater } from '../internal/events.js';
import { inspect } from '../internal/node-util.js';
import {
  callback,
  count,
  defaultTimeout,
  type Keys,
  longestTimer,
  milliseconds,
  readOptions,
} from '../internal/options.js';
import { isThenable } from '../internal/thenable.js';
import type { NativeSlots } from '../native/types.js';

/** How a new generation proves itself: it goes back by itself if too many calls fail. */
export interface ProbationOptions {
  /** Milliseconds, 0 or more, after which it is over. Defaults to 10,000; with `calls`, to no limit. */
  readonly milliseconds?: number;
  /** Calls, 1 or more, after which it is over. Defaults to no limit. */
  readonly calls?: number;
  /**
   * Says whether a call has failed: it gets what the call threw, or what it returned, and the name of the symbol. For a
   * nonblocking call it gets what the promise settled with. If it throws, that is an uncaught exception, and the call
   * has failed. Defaults to whether the call threw.
   */
  readonly failed?: (error: unknown, result: unknown, name: string) => boolean;
  /** Failed calls, 0 or more, that are allowed. Defaults to 0: the first one ends the probation. */
  readonly failures?: number;
}

/** The same, checked. */
export interface ProbationPlan {
  readonly milliseconds: number;
  readonly calls: number;
  readonly failed: NonNullable<ProbationOptions['failed']>;
  readonly failures: number;
}

const keys: Keys<ProbationOptions> = {
  milliseconds: true,
  calls: true,
  failed: true,
  failures: true,
};

/**
 * Checks the options of a probation; `undefined` if there is to be none.
 *
 * @throws {TypeError | RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 */
export function planProbation(name: string, options: unknown): ProbationPlan | undefined {
  if (options === undefined) return undefined;
  if (typeof options !== 'object' || options === null) {
    throw argumentTypeError(name, 'an object', options);
  }
  const given = readOptions<ProbationOptions>(name, options, keys);
  const calls = count(`${name}.calls`, given.calls, 0, Number.MAX_SAFE_INTEGER);
  const forEver = calls > 0 ? Number.POSITIVE_INFINITY : defaultTimeout;
  return {
    milliseconds: milliseconds(`${name}.milliseconds`, given.milliseconds, forEver),
    calls: calls > 0 ? calls : Number.POSITIVE_INFINITY,
    failed: callback<ProbationPlan['failed']>(`${name}.failed`, given.failed) ?? threw,
    failures: count(`${name}.failures`, given.failures, 0, Number.MAX_SAFE_INTEGER),
  };
}

function threw(error: unknown): boolean {
  return error !== undefined;
}

/** The probation of the generation that runs: looks at the calls of the bound functions. */
export class Probation {
  readonly #slots: NativeSlots;
  readonly #plan: ProbationPlan;
  readonly #fail: (cause: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #calls = 0;
  #failures = 0;
  #isOver = false;

  /** @param fail Called once, with what the last call failed with: what it threw, or an error that tells what it returned. */
  constructor(slots: NativeSlots, plan: ProbationPlan, fail: (cause: unknown) => void) {
    this.#slots = slots;
    this.#plan = plan;
    this.#fail = fail;
    if (Number.isFinite(plan.milliseconds)) {
      const end = () => this.end();
      this.#timer = setTimeout(end, Math.min(plan.milliseconds, longestTimer)).unref();
    }
    this.resume();
  }

  /** Looks at calls again, after an exchange that failed. */
  resume(): void {
    if (!this.#isOver) this.#slots.supervise(this.#observe);
  }

  /** Looks at no call any more. From then on a call costs what it did before. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#slots.endSupervision();
  }

  /** Called by the addon after each call; does not throw. */
  readonly #observe = (name: string, error: unknown, result: unknown): void => {
    if (isThenable(result)) {
      Promise.resolve(result).then(
        (value) => this.#returned(name, undefined, value),
        (reason) => this.#returned(name, reason, undefined),
      );
    } else {
      this.#returned(name, error, result);
    }
  };

  #returned(name: string, error: unknown, result: unknown): void {
    if (this.#isOver || isRefusal(name, error)) return;
    this.#calls += 1;
    if (this.#hasFailed(name, error, result)) this.#failures += 1;
    if (this.#failures > this.#plan.failures) {
      this.end();
      this.#fail(error ?? new Error(`${name}() returned ${inspect(result, { depth: 0 })}`));
    } else if (this.#calls >= this.#plan.calls) {
      this.end();
    }
  }

  #hasFailed(name: string, error: unknown, result: unknown): boolean {
    try {
      return this.#plan.failed(error, result, name) === true;
    } catch (thrown) {
      rethrowLater(thrown);
      return true;
    }
  }
}

/** Whether the call was not made: its arguments were wrong. native/binding/call/call_error.cc */
function isRefusal(name: string, error: unknown): boolean {
  return error instanceof TypeError && error.message.startsWith(`cannot call ${name}(): `);
}
