import type { BoundFunctions, Definitions } from '../call/types.js';
import type { CandidateInfo, ImageInfo, UnloadPolicy } from '../image/image-info.js';
import { argumentTypeError, argumentValueError } from '../internal/errors.js';
import {
  callback,
  defaultTimeout,
  flag,
  type Keys,
  milliseconds,
  oneOf,
  readOptions,
  type Unchecked,
  unloadPolicy,
} from '../internal/options.js';
import { type ProbationOptions, type ProbationPlan, planProbation } from './probation.js';
import type { Quarantine } from './quarantine/quarantine.js';
import type { SwapOrder } from './report.js';

/** A judgement of a candidate's functions: `true` or nothing takes the candidate. */
export type Verify<D extends Definitions = Definitions> = (
  functions: BoundFunctions<D>,
  // biome-ignore lint/suspicious/noConfusingVoidType: a function without `return` is the usual one
) => boolean | void | PromiseLike<boolean | void>;

/** What `migrate` of a swap gets. */
export interface Migration<D extends Definitions = Definitions> {
  /** The functions of the running image. */
  readonly from: BoundFunctions<D>;
  /** The functions of the image that is about to run. */
  readonly to: BoundFunctions<D>;
  /** The image that runs. */
  readonly previous: ImageInfo;
  /** The image that is about to run. */
  readonly candidate: CandidateInfo;
}

/** Carries state from one image to the next: `false`, or an error, refuses the candidate. */
export type Migrate<D extends Definitions = Definitions> = (
  migration: Migration<D>,
  // biome-ignore lint/suspicious/noConfusingVoidType: a function without `return` is the usual one
) => boolean | void | PromiseLike<boolean | void>;

/** The options of a swap. */
export interface SwapOptions<D extends Definitions = Definitions> {
  /** The image that comes first: the old one is closed, or the new one is opened. Defaults to `close-first`. */
  readonly order?: SwapOrder;
  /**
   * Milliseconds, 0 or more, that each wait of `swap()` may take. `close-first` fails with `ERR_SOSWAP_BUSY` if calls in
   * flight have not returned by then. `open-first` then leaves the old image to them: the report says `calls-in-flight`, and
   * the image goes by itself when they have returned. A `verify` that has not settled by then, or in 1,000, refuses the
   * candidate with `ERR_SOSWAP_VERIFY`; so does a constructor that has not returned on another thread, with
   * `ERR_SOSWAP_LOADER`. `swapSync()` never waits and does not take it. Defaults to 10,000.
   */
  readonly timeout?: number;
  /**
   * A signal that refuses the swap when it is aborted before the new image runs. Nothing has changed then; the promise
   * rejects with the reason of the signal, and the event `refused` has `ERR_SOSWAP_ABORTED` with that reason as its
   * `cause`. A copy or a quarantine that is under way is finished first. Afterwards an abort has no effect. `swapSync()`
   * does not take it. Defaults to none.
   */
  readonly signal?: AbortSignal;
  /**
   * A function that judges the candidate. It gets the candidate's functions, loaded beside the old image, and runs on the
   * handle's thread. The candidate is taken if it returns `true` or nothing, or a promise of these. If it throws, rejects or
   * returns anything else, `false` or a forgotten value, the candidate is refused with `ERR_SOSWAP_VERIFY`. `swapSync()`
   * takes no promise. Afterwards the functions throw, and their changes to the library's static data are
   * lost. An image that cannot be unmapped safely (`-z nodelete`, Go, threads, a `thread_local` with a destructor, Rust) is not
   * loaded twice: what ran in `verify` has its effect there. Defaults to no judgement.
   */
  readonly verify?: Verify<D>;
  /**
   * A function that carries state from the running image to the next one. Both are loaded, with either order, and it runs
   * right before the next one takes effect, on the handle's thread: no call is in flight, and new nonblocking calls wait. If
   * it throws, rejects or returns anything but `true` or nothing, or has not settled within `timeout` or 1,000
   * milliseconds, the candidate is refused with `ERR_SOSWAP_MIGRATE`, and the old image runs on with its state. `swapSync()`
   * takes no promise. Blocking calls that other JavaScript makes while its promise is pending run in the old image: what they
   * change after it was read is lost. Afterwards `from` and `to` throw. Defaults to none.
   */
  readonly migrate?: Migrate<D>;
  /**
   * A rehearsal in a child process, which loads the image that runs, then the candidate, in the order and with the
   * `unload` of the swap, without `verify`. A crash, a hang or an error there refuses the candidate with
   * `ERR_SOSWAP_QUARANTINE`, whose message has the signal and the last line of standard error. Constructors and destructors
   * run there; no function is called. If the child dies while it loads the image that runs, another one tries the
   * candidate alone. Defaults to `false`.
   */
  readonly quarantine?: boolean | QuarantineOptions;
  /** The fate of the old image. Defaults to the option `unload` of {@link SoHandle.open}. */
  readonly unload?: UnloadPolicy;
  /**
   * A time in which the new image proves itself: if more calls of bound functions fail than allowed, nonblocking ones
   * included, the handle goes back to the generation before by itself, as {@link SoHandle.rollback} does, and emits `swap` and
   * `rolledback`. A call with wrong arguments does not count, nor does one that `soswap/koffi` or another FFI makes. Calls
   * are slower meanwhile. It ends with the next swap. With {@link swapAll} each handle has its own. Needs `history`:
   * `ERR_SOSWAP_NO_HISTORY`. Defaults to none.
   */
  readonly probation?: ProbationOptions;
  /**
   * The thread on which an `open-first` `swap()` loads the new image and unmaps the old one, and so runs constructors and
   * destructors of the library. `thread`: other threads, so that the JavaScript thread is held for the commit alone,
   * whatever the size of the library; the thread of the constructors ends when they are done. `main`: the JavaScript
   * thread, for a library that depends on the thread that loads it, for example because a `thread_local` variable of a
   * constructor must live on. `close-first` and `swapSync()` always load on the JavaScript thread and do not take it.
   * Defaults to `thread`.
   */
  readonly loadOn?: 'thread' | 'main';
}

/** The options of `SoHandle.swap()`. */
export interface ChangedSwapOptions<D extends Definitions = Definitions> extends SwapOptions<D> {
  /**
   * A swap only if {@link SoHandle.status} is not `current`: the running image keeps its state where the file has the same
   * bytes. The result is `null` then, and no event is emitted. Defaults to `false`.
   */
  readonly ifChanged?: boolean;
}

/** The options of a quarantine. */
export interface QuarantineOptions {
  /** Milliseconds, 0 or more, that each child may take. Defaults to 10,000. */
  readonly timeout?: number;
  /**
   * The path of the Node.js that runs the child process. A single executable application, Electron and other programs
   * that contain Node.js need it. Defaults to `process.execPath`.
   */
  readonly execPath?: string;
  /** Options of Node.js for the child process. `NODE_OPTIONS` has no effect there. Defaults to none. */
  readonly execArgv?: readonly string[];
}

/** The options of a swap with every default filled in. */
export interface SwapPlan<D extends Definitions> {
  readonly order: SwapOrder;
  readonly timeout: number;
  readonly signal: AbortSignal | undefined;
  readonly verify: SwapOptions<D>['verify'];
  readonly migrate: SwapOptions<D>['migrate'];
  readonly quarantine: Quarantine | undefined;
  readonly unload: UnloadPolicy;
  readonly probation: ProbationPlan | undefined;
  /** Load and unmap on other threads. */
  readonly onThread: boolean;
  /** The next image is opened before the running one is closed. */
  readonly isBeside: boolean;
  /** Calls in flight must have returned before the next image runs. */
  readonly drains: boolean;
  /** What becomes the next image: a copy of the file, or the newest of the earlier generations. */
  readonly from: 'file' | 'history';
}

/** What of it the second half of a swap needs. */
export type CommitPlan = Omit<SwapPlan<Definitions>, 'verify' | 'migrate' | 'quarantine'>;

const swapKeys: Keys<SwapOptions> = {
  order: true,
  timeout: true,
  signal: true,
  verify: true,
  migrate: true,
  quarantine: true,
  unload: true,
  probation: true,
  loadOn: true,
};

const changedSwapKeys: Keys<ChangedSwapOptions> = { ...swapKeys, ifChanged: true };

/** What a handle swaps with where a swap has no option of its own. Checked. */
export type SwapDefaults<D extends Definitions = Definitions> = Unchecked<SwapOptions<D>>;

/**
 * Checks the options of a swap.
 *
 * @param defaults Those of the handle.
 * @param form The call that they are for: an option that has no effect there is refused.
 * @param name What the caller calls the object.
 * @throws {TypeError | RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`
 */
export function planSwap<D extends Definitions>(
  options: unknown,
  defaults: SwapDefaults<D>,
  form: 'swap' | 'swapSync',
  name = 'options',
): SwapPlan<D> {
  const own = readOptions(name, options, swapKeys);
  const { timeout, loadOn, signal, ...all } = { ...defaults, ...present(own) };
  const order = oneOf(`${name}.order`, all.order, ['close-first', 'open-first']);
  const where = oneOf(`${name}.loadOn`, loadOn, ['thread', 'main']);
  if (form === 'swapSync') {
    assertAbsent(`${name}.timeout`, own.timeout, 'swapSync(), which waits for nothing');
    assertAbsent(`${name}.signal`, own.signal, 'swapSync(), which nothing can interrupt');
    assertAbsent(`${name}.loadOn`, own.loadOn, 'swapSync(), which loads on this thread');
  } else if (order === 'close-first') {
    const closeFirst = "the order 'close-first', which loads on this thread";
    assertAbsent(`${name}.loadOn`, own.loadOn, closeFirst);
  }
  const migrate = callback<Migrate<D>>(`${name}.migrate`, all.migrate);
  return {
    order,
    isBeside: order === 'open-first' || migrate !== undefined,
    drains: order === 'close-first' || migrate !== undefined,
    migrate,
    timeout: milliseconds(`${name}.timeout`, timeout, defaultTimeout),
    signal: form === 'swapSync' ? undefined : abortSignal(`${name}.signal`, signal),
    verify: callback(`${name}.verify`, all.verify),
    quarantine: planQuarantine(`${name}.quarantine`, all.quarantine),
    unload: unloadPolicy(`${name}.unload`, all.unload),
    probation: planProbation(`${name}.probation`, all.probation),
    onThread: form === 'swap' && order === 'open-first' && where === 'thread',
    from: 'file',
  };
}

/** The same of a swap that goes back to an earlier generation. */
export function planRollback<D extends Definitions>(
  options: unknown,
  defaults: SwapDefaults<D>,
): SwapPlan<D> {
  const own = readOptions<SwapOptions>('options', options, swapKeys);
  assertAbsent(
    'options.probation',
    own.probation,
    'rollback(), which goes back to what has proved itself',
  );
  return { ...planSwap<D>(own, defaults, 'swap'), probation: undefined, from: 'history' };
}

/** The same of a swap that may have `ifChanged` too. */
export function planChangedSwap<D extends Definitions>(
  options: unknown,
  defaults: SwapDefaults<D>,
): { readonly plan: SwapPlan<D>; readonly ifChanged: boolean } {
  const { ifChanged, ...own } = readOptions('options', options, changedSwapKeys);
  const plan = planSwap(own, defaults, 'swap');
  return { plan, ifChanged: flag('options.ifChanged', ifChanged) };
}

/** The same where no handle is known yet. Returns a copy. */
export function checkSwapOptions(name: string, options: unknown): SwapOptions {
  const own = present(readOptions<SwapOptions>(name, options, swapKeys));
  planSwap(own, { order: 'open-first' }, 'swap', name); // which takes every option
  return own as SwapOptions;
}

/** Checks the options that a handle is opened with for its swaps. */
export function swapDefaults<D extends Definitions>(
  name: string,
  options: unknown,
  unload: UnloadPolicy,
): SwapDefaults<D> {
  const own = readOptions<SwapOptions>(name, options, swapKeys);
  planSwap(own, { unload }, 'swap', name);
  return { unload, ...present(own) };
}

function present<Options extends object>(options: Options): Options {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Options;
}

/** Checks it as Node.js does: a signal may come from another realm. */
function abortSignal(name: string, signal: unknown): AbortSignal | undefined {
  if (signal === undefined) return undefined;
  if (typeof signal === 'object' && signal !== null && 'aborted' in signal) {
    return signal as AbortSignal;
  }
  throw argumentTypeError(name, 'an AbortSignal', signal);
}

function assertAbsent(name: string, value: unknown, where: string): void {
  if (value !== undefined) throw argumentValueError(name, `has no effect with ${where}`, value);
}

const quarantineKeys: Keys<QuarantineOptions> = { timeout: true, execPath: true, execArgv: true };

/**
 * Checks the options of a quarantine; `undefined` if there is to be none.
 *
 * @throws {TypeError | RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`
 */
export function planQuarantine(name: string, quarantine: unknown): Quarantine | undefined {
  if (quarantine === undefined || quarantine === false) return undefined;
  if (quarantine !== true && (typeof quarantine !== 'object' || quarantine === null)) {
    throw argumentTypeError(name, 'a boolean or an object', quarantine);
  }
  const given = quarantine === true ? undefined : quarantine;
  const { timeout, execPath, execArgv = [] } = readOptions(name, given, quarantineKeys);
  if (execPath !== undefined && typeof execPath !== 'string') {
    throw argumentTypeError(`${name}.execPath`, 'a string', execPath);
  }
  if (execPath === '' || execPath?.includes('\0')) {
    throw argumentValueError(`${name}.execPath`, 'must be a path', execPath);
  }
  if (!Array.isArray(execArgv) || !execArgv.every((each) => typeof each === 'string')) {
    throw argumentTypeError(`${name}.execArgv`, 'an array of strings', execArgv);
  }
  return {
    timeout: milliseconds(`${name}.timeout`, timeout, defaultTimeout),
    execPath,
    execArgv: [...execArgv],
  };
}
