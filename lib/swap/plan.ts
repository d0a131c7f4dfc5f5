import type { BoundFunctions, Definitions } from '../call/signature.js';
import { argumentTypeError } from '../internal/errors.js';
import { checkOptions, milliseconds, oneOf } from '../internal/options.js';
import type { SwapOrder } from './report.js';

/**
 * What becomes of an old image. `auto`: it is unmapped, unless that could crash the process because code of it
 * may still run (it can start threads, or registers destructors for a thread's end). `always`: it is unmapped
 * all the same. `never`: it stays.
 */
export type UnloadPolicy = 'auto' | 'always' | 'never';

/** How a swap goes about it. */
export interface SwapOptions<D extends Definitions = Definitions> {
  /** Which image goes or comes first. Default `close-first`. */
  readonly order?: SwapOrder;
  /**
   * How long `swap()` waits for calls in flight, in milliseconds, before it gives up with
   * `ERR_SOSWAP_BUSY`. 0 or more; default 10,000. `swapSync()` never waits.
   */
  readonly timeout?: number;
  /**
   * Is given the candidate's functions, loaded beside the old image, and called on the handle's thread. Throwing,
   * rejecting or returning `false` refuses the candidate with `ERR_SOSWAP_VERIFY`. `swapSync()` takes no promise. The
   * functions are dead afterwards, and unless the library cannot be unmapped safely, what they changed in its
   * static data is too.
   */
  readonly verify?: (functions: BoundFunctions<D>) => unknown;
  /**
   * Load the candidate in a child process first: a crash, a hang or an error there refuses it with
   * `ERR_SOSWAP_QUARANTINE`. Its constructors and destructors run there, no function is called. Default `false`.
   */
  readonly quarantine?:
    | boolean
    | {
        /** How long the child may take, in milliseconds. 0 or more; default 10,000. */
        readonly timeout?: number;
      };
  /** What becomes of the old image. Default: as {@link SoHandle.open} was told. */
  readonly unload?: UnloadPolicy;
  /**
   * Where an `open-first` `swap()` loads the new image and unmaps the old one, and so runs constructors and
   * destructors of the library. `thread` (default): on other threads, so that the JavaScript thread is held for the
   * commit alone, whatever the size of the library; that of the constructors ends when they are done. `main`: on the
   * JavaScript thread, for libraries that care which thread loads them, where a `thread_local` of a constructor must
   * live on, say. `close-first` and `swapSync()` load on the JavaScript thread anyway.
   */
  readonly loadOn?: 'thread' | 'main';
}

/** The same with every default filled in. */
export interface SwapPlan<D extends Definitions> {
  readonly order: SwapOrder;
  readonly timeout: number;
  readonly verify: ((functions: BoundFunctions<D>) => unknown) | undefined;
  /** Milliseconds; `undefined` without quarantine. */
  readonly quarantine: number | undefined;
  readonly unload: UnloadPolicy;
  /** Load and unmap on another thread, where the swap can wait. */
  readonly aside: boolean;
}

const defaultTimeout = 10_000;

export function planSwap<D extends Definitions>(
  options: SwapOptions<D>,
  unload: UnloadPolicy,
): SwapPlan<D> {
  checkOptions(options);
  const { verify, quarantine = false } = options;
  if (verify !== undefined && typeof verify !== 'function') {
    throw argumentTypeError('options.verify', 'a function', verify);
  }
  const order = oneOf('options.order', options.order, ['close-first', 'open-first']);
  const loadOn = oneOf('options.loadOn', options.loadOn, ['thread', 'main']);
  return {
    order,
    aside: order === 'open-first' && loadOn === 'thread',
    timeout: milliseconds('options.timeout', options.timeout, defaultTimeout),
    verify,
    quarantine: quarantineTimeout(quarantine),
    unload: options.unload === undefined ? unload : unloadPolicy(options.unload),
  };
}

export function unloadPolicy(value: unknown): UnloadPolicy {
  return oneOf('options.unload', value, ['auto', 'always', 'never']);
}

function quarantineTimeout(quarantine: unknown): number | undefined {
  if (typeof quarantine === 'boolean') return quarantine ? defaultTimeout : undefined;
  if (typeof quarantine !== 'object' || quarantine === null) {
    throw argumentTypeError('options.quarantine', 'a boolean or an object', quarantine);
  }
  const timeout = 'timeout' in quarantine ? quarantine.timeout : undefined;
  return milliseconds('options.quarantine.timeout', timeout, defaultTimeout);
}
