import type { UndefinedSymbol } from '../native/types.js';
import { inspect } from './node-util.js';

/**
 * What a failed swap left behind.
 *
 * - `unchanged`: nothing changed; the image that ran before runs on, with its state
 * - `rolled-back`: the previous image was closed and loaded again; the functions work, and the message says whether the
 *   static state of the image was kept or began anew
 * - `not-loaded`: the previous image was closed and could not be loaded again; calls throw `ERR_SOSWAP_NOT_LOADED` until
 *   the next swap
 */
export type SwapOutcome = 'unchanged' | 'rolled-back' | 'not-loaded';

/**
 * The error of everything that soswap itself refuses or fails at. `code` is stable; `message` is for people; `cause` is
 * the error behind it, where there is one. A wrong argument is a `TypeError` or `RangeError` with Node's own code instead.
 *
 * @example
 * try {
 *   await price.swap();
 * } catch (error) {
 *   if (!(error instanceof SoError)) throw error;
 *   console.error(error.code, error.path, error.symbol, error.outcome, error.cause);
 * }
 */
export class SoError extends Error {
  /** `ERR_SOSWAP_…`, see {@link SoErrorCode}. */
  readonly code: SoErrorCode;
  /** The library that failed: the path of its handle; for `install()` the destination. */
  readonly path: string;
  /** The symbol that failed, where there is one. */
  declare readonly symbol?: string;
  /** What a failed swap left behind. `unchanged` for every other error. */
  readonly outcome: SwapOutcome;
  /** Whether `outcome` is `rolled-back`. */
  readonly rolledBack: boolean;

  /** @internal */
  constructor(
    code: SoErrorCode,
    message: string,
    path: string,
    symbol?: string,
    options: ErrorOptions & { outcome?: SwapOutcome } = {},
  ) {
    super(message, options);
    this.code = code;
    this.path = path;
    if (symbol !== undefined) this.symbol = symbol;
    this.outcome = options.outcome ?? 'unchanged';
    this.rolledBack = this.outcome === 'rolled-back';
  }

  /**
   * Returns `thrown` if it is a SoError, else a new one with `thrown` as its cause: a full stack, or no memory.
   *
   * @internal
   */
  static of(thrown: unknown, what: string, path: string): SoError {
    if (thrown instanceof SoError) return thrown;
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    return new SoError('ERR_SOSWAP_SYSTEM', `${what}: ${why}`, path, undefined, { cause: thrown });
  }

  /**
   * Returns the same error with more in its message.
   *
   * @internal
   */
  with(more: string, outcome: SwapOutcome): SoError {
    const { code, message, path, symbol } = this;
    return new SoError(code, `${message}; ${more}`, path, symbol, { cause: this, outcome });
  }

  static {
    SoError.prototype.name = 'SoError';
  }
}

/**
 * Why soswap refused or failed. An object as well, so that a code can be written without quotes.
 *
 * @enum
 * @example
 * price.on('refused', ({ code }) => {
 *   if (code === SoErrorCode.ERR_SOSWAP_MISSING_SYMBOL) console.error('this is another library');
 * });
 */
export const SoErrorCode = {
  /** No such file, or a bare name that dlopen(3)'s lookup does not find. */
  ERR_SOSWAP_NOT_FOUND: 'ERR_SOSWAP_NOT_FOUND',
  /** A directory, a FIFO, a socket or a device. */
  ERR_SOSWAP_NOT_A_FILE: 'ERR_SOSWAP_NOT_A_FILE',
  /** The system does not let us read it: permissions, an I/O error. */
  ERR_SOSWAP_UNREADABLE: 'ERR_SOSWAP_UNREADABLE',
  /** Somebody is writing the file: it stayed open for writing for 50 ms, or it changed while it was read. */
  ERR_SOSWAP_BEING_WRITTEN: 'ERR_SOSWAP_BEING_WRITTEN',
  /** The file ends before its own headers say; an empty file too. */
  ERR_SOSWAP_TRUNCATED: 'ERR_SOSWAP_TRUNCATED',
  /** Not an ELF file. */
  ERR_SOSWAP_NOT_ELF: 'ERR_SOSWAP_NOT_ELF',
  /** Built for another processor, word size or byte order. */
  ERR_SOSWAP_WRONG_MACHINE: 'ERR_SOSWAP_WRONG_MACHINE',
  /** ELF, but a program or an object file. */
  ERR_SOSWAP_NOT_SHARED_OBJECT: 'ERR_SOSWAP_NOT_SHARED_OBJECT',
  /** ELF whose tables are damaged. */
  ERR_SOSWAP_MALFORMED: 'ERR_SOSWAP_MALFORMED',
  /** Symbols that the definitions ask for are absent; `symbol` names the first, the message all. */
  ERR_SOSWAP_MISSING_SYMBOL: 'ERR_SOSWAP_MISSING_SYMBOL',
  /** The loader refused it: dlopen(3)'s own text is in the message. */
  ERR_SOSWAP_LOADER: 'ERR_SOSWAP_LOADER',
  /** The handle was closed. */
  ERR_SOSWAP_CLOSED: 'ERR_SOSWAP_CLOSED',
  /** A call is in flight, or the handle is being swapped. */
  ERR_SOSWAP_BUSY: 'ERR_SOSWAP_BUSY',
  /** `image: 'direct'`, and the old image cannot be unmapped, so that new code could not take effect. */
  ERR_SOSWAP_STILL_LOADED: 'ERR_SOSWAP_STILL_LOADED',
  /** A swap failed and the previous image could not be loaded again: swap once more. */
  ERR_SOSWAP_NOT_LOADED: 'ERR_SOSWAP_NOT_LOADED',
  /** `verify()` refused the candidate; `cause` is what it threw. */
  ERR_SOSWAP_VERIFY: 'ERR_SOSWAP_VERIFY',
  /** The candidate crashed, hung or failed in a child process. */
  ERR_SOSWAP_QUARANTINE: 'ERR_SOSWAP_QUARANTINE',
  /** More old images would stay mapped than `maxRetained` allows. */
  ERR_SOSWAP_RETAINED_LIMIT: 'ERR_SOSWAP_RETAINED_LIMIT',
  /** A library that the candidate needs is not found. */
  ERR_SOSWAP_MISSING_DEPENDENCY: 'ERR_SOSWAP_MISSING_DEPENDENCY',
  /**
   * A dependency was replaced too, but the old one is still loaded and the loader would bind to that: something else
   * holds it, the old image stays mapped, or the order `open-first` or `verify` loads the candidate beside it.
   */
  ERR_SOSWAP_REPLACED_DEPENDENCY: 'ERR_SOSWAP_REPLACED_DEPENDENCY',
  /** The candidate needs symbols that nothing provides; `symbol` is the first. */
  ERR_SOSWAP_UNDEFINED_SYMBOL: 'ERR_SOSWAP_UNDEFINED_SYMBOL',
  /** Loading soswap itself failed: its addon does not run on this system. `npx soswap build` compiles it. */
  ERR_SOSWAP_ADDON: 'ERR_SOSWAP_ADDON',
  /** `install()` could not write the destination, which is as it was; `cause` is the system's error. */
  ERR_SOSWAP_INSTALL: 'ERR_SOSWAP_INSTALL',
  /** A native function threw a C++ exception. */
  ERR_SOSWAP_NATIVE_EXCEPTION: 'ERR_SOSWAP_NATIVE_EXCEPTION',
  /** The system refused something that has nothing to do with the file: no memory, no descriptors, no room on the stack. */
  ERR_SOSWAP_SYSTEM: 'ERR_SOSWAP_SYSTEM',
} as const;

export type SoErrorCode = (typeof SoErrorCode)[keyof typeof SoErrorCode];

/** A mistake in an argument, with Node's own code and name. */
export function argumentTypeError(name: string, expected: string, value: unknown): TypeError {
  const error = new TypeError(
    `The "${name}" argument must be ${expected}. Received ${inspect(value, { depth: 0 })}`,
  );
  return Object.assign(error, { code: 'ERR_INVALID_ARG_TYPE' });
}

/** A value of the right type that is not one of the allowed ones. */
export function argumentValueError(name: string, reason: string, value: unknown): TypeError {
  const error = new TypeError(
    `The argument "${name}" ${reason}. Received ${inspect(value, { depth: 0 })}`,
  );
  return Object.assign(error, { code: 'ERR_INVALID_ARG_VALUE' });
}

export function missingSymbols(path: string, names: readonly string[]): SoError {
  const list = names.join(', ');
  const text = names.length === 1 ? `symbol ${list} is absent` : `symbols are absent: ${list}`;
  return new SoError('ERR_SOSWAP_MISSING_SYMBOL', `cannot use '${path}': ${text}`, path, names[0]);
}

export function replacedDependencies(path: string, files: readonly string[]): SoError {
  const message =
    `cannot load '${path}': it needs ${files.join(', ')}, replaced since it was loaded, and the loader would bind to ` +
    "the old one: close what else holds it; swap with order 'close-first' and without verify";
  return new SoError('ERR_SOSWAP_REPLACED_DEPENDENCY', message, path);
}

export function undefinedSymbols(path: string, symbols: readonly UndefinedSymbol[]): SoError {
  const list = symbols.map(({ name, version, neededBy }) => {
    const wanted = version === '' ? name : `${name}@${version}`;
    return neededBy === path ? wanted : `${wanted} (needed by ${neededBy})`;
  });
  const message = `cannot load '${path}': nothing provides ${list.join(', ')}`;
  return new SoError('ERR_SOSWAP_UNDEFINED_SYMBOL', message, path, symbols[0]?.name);
}
