import type { NameHints, StaleImage, UndefinedSymbol } from '../native/types.js';
import { inspect, systemErrors } from './node-util.js';

/**
 * The state of a handle after a failed swap.
 *
 * - `unchanged`: the previous image runs on with its static state
 * - `rolled-back`: the previous image was closed and loaded again. The functions work; the message says whether the
 *   static state was kept or started anew
 * - `not-loaded`: the previous image was closed and could not be loaded again. Calls throw `ERR_SOSWAP_NOT_LOADED`
 *   until a swap succeeds
 */
export type SwapOutcome = 'unchanged' | 'rolled-back' | 'not-loaded';

/**
 * A failure of soswap. `code` is stable; `message` is text for people and may change; `cause` is the underlying error,
 * if there is one: with `errno` and `code` (`ENOENT`) if a system call failed, with `signal` if a child process died of one.
 * A wrong argument throws a `TypeError` or `RangeError` with a code of Node.js instead.
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
  /** The reason of the failure, one of {@link SoErrorCode}. */
  readonly code: SoErrorCode;
  /** The path of the library that failed. For `ERR_SOSWAP_INSTALL`, the path of the destination. */
  readonly path: string;
  /** The symbol that failed; absent if the failure does not concern a symbol. */
  declare readonly symbol?: string;
  /** The state of the handle after a failed swap. `unchanged` for every other error. */
  readonly outcome: SwapOutcome;
  /** Whether `outcome` is `rolled-back`. */
  readonly rolledBack: boolean;

  /** @internal */
  constructor(
    code: SoErrorCode,
    message: string,
    path: string,
    symbol?: string,
    options: ErrorOptions & { outcome?: SwapOutcome; errno?: number } = {},
  ) {
    super(message, options.errno === undefined ? options : { cause: systemError(options.errno) });
    this.code = code;
    this.path = path;
    if (symbol !== undefined) this.symbol = symbol;
    this.outcome = options.outcome ?? 'unchanged';
    this.rolledBack = this.outcome === 'rolled-back';
  }

  /**
   * Returns `thrown` if it is a SoError, otherwise a new one with `thrown` as its cause: a full stack or no memory.
   *
   * @internal
   */
  static of(thrown: unknown, what: string, path: string): SoError {
    if (thrown instanceof SoError) return thrown;
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    return new SoError('ERR_SOSWAP_SYSTEM', `${what}: ${why}`, path, undefined, { cause: thrown });
  }

  /**
   * Returns a SoError with a longer message and another outcome. Its cause is this error.
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
 * The codes of {@link SoError}. The object has one property for each code, whose value is the code itself.
 *
 * @enum
 * @example
 * price.on('refused', ({ code }) => {
 *   if (code === SoErrorCode.ERR_SOSWAP_MISSING_SYMBOL) console.error('the new file is another library');
 * });
 */
export const SoErrorCode = {
  /** The file does not exist, or the search of dlopen(3) for a bare name found nothing. */
  ERR_SOSWAP_NOT_FOUND: 'ERR_SOSWAP_NOT_FOUND',
  /** The path leads to a directory, a FIFO, a socket or a device. */
  ERR_SOSWAP_NOT_A_FILE: 'ERR_SOSWAP_NOT_A_FILE',
  /** The system refused to read the file: no permission, or an I/O error. */
  ERR_SOSWAP_UNREADABLE: 'ERR_SOSWAP_UNREADABLE',
  /** The file stayed open for writing for 50 ms, or changed while soswap read it. */
  ERR_SOSWAP_BEING_WRITTEN: 'ERR_SOSWAP_BEING_WRITTEN',
  /**
   * The file is empty, or ends before bytes that the loader maps or reads. A file that lacks only what the loader does not
   * use, section headers and debug information, is taken.
   */
  ERR_SOSWAP_TRUNCATED: 'ERR_SOSWAP_TRUNCATED',
  /** The file is not an ELF file. */
  ERR_SOSWAP_NOT_ELF: 'ERR_SOSWAP_NOT_ELF',
  /** The file is built for another processor, word size or byte order. */
  ERR_SOSWAP_WRONG_MACHINE: 'ERR_SOSWAP_WRONG_MACHINE',
  /** The ELF file is a program or an object file. */
  ERR_SOSWAP_NOT_SHARED_OBJECT: 'ERR_SOSWAP_NOT_SHARED_OBJECT',
  /** The tables of the ELF file are damaged. */
  ERR_SOSWAP_MALFORMED: 'ERR_SOSWAP_MALFORMED',
  /** The library lacks symbols of the definitions. `symbol` is the first one; the message lists all. */
  ERR_SOSWAP_MISSING_SYMBOL: 'ERR_SOSWAP_MISSING_SYMBOL',
  /** dlopen(3) failed. The message contains the text of dlerror(3). */
  ERR_SOSWAP_LOADER: 'ERR_SOSWAP_LOADER',
  /** The handle is closed. */
  ERR_SOSWAP_CLOSED: 'ERR_SOSWAP_CLOSED',
  /** A call is in flight, or another swap of the handle is under way. */
  ERR_SOSWAP_BUSY: 'ERR_SOSWAP_BUSY',
  /** A prepared swap cannot be committed: it was committed or discarded, or the handle was swapped or closed since. */
  ERR_SOSWAP_STALE_PREPARATION: 'ERR_SOSWAP_STALE_PREPARATION',
  /** There is no earlier generation that the handle could go back to. The message says why. */
  ERR_SOSWAP_NO_HISTORY: 'ERR_SOSWAP_NO_HISTORY',
  /** The signal of the swap was aborted. `cause` is the reason of the signal. */
  ERR_SOSWAP_ABORTED: 'ERR_SOSWAP_ABORTED',
  /**
   * With `image: 'direct'`, an older image of the path cannot be unmapped, so that new code could not take effect: a swap,
   * or another `open()` while the file has been replaced. Closing the handles that have it open, or ending the threads
   * that used it, makes room.
   */
  ERR_SOSWAP_STILL_LOADED: 'ERR_SOSWAP_STILL_LOADED',
  /**
   * The library is a part of the C library. A part of the C library of this process is used as it is loaded, and cannot
   * be swapped: restart the process. The core of another C library cannot be opened.
   */
  ERR_SOSWAP_C_LIBRARY: 'ERR_SOSWAP_C_LIBRARY',
  /** The handle has no image, because a swap failed and could not load the previous image again. Swap again. */
  ERR_SOSWAP_NOT_LOADED: 'ERR_SOSWAP_NOT_LOADED',
  /** `migrate` refused the candidate, or did not end. `cause` is the error that it threw. */
  ERR_SOSWAP_MIGRATE: 'ERR_SOSWAP_MIGRATE',
  /** `verify` refused the candidate. `cause` is the error that it threw. */
  ERR_SOSWAP_VERIFY: 'ERR_SOSWAP_VERIFY',
  /**
   * The candidate crashed, hung or failed in the child process of `quarantine`, or no child process could be started. On
   * import: a process of a quarantine has started this one.
   */
  ERR_SOSWAP_QUARANTINE: 'ERR_SOSWAP_QUARANTINE',
  /** The swap would retain more images or bytes than `maxRetained` or `limitRetained()` allows; or `open()` would lead to that. */
  ERR_SOSWAP_RETAINED_LIMIT: 'ERR_SOSWAP_RETAINED_LIMIT',
  /** The file system of the library is mounted `noexec`. The option `noexec: 'allow'` of `open()` loads it. */
  ERR_SOSWAP_NOEXEC: 'ERR_SOSWAP_NOEXEC',
  /** /proc is not mounted, or shows other processes, and the loader reaches private copies through it. */
  ERR_SOSWAP_NO_PROC: 'ERR_SOSWAP_NO_PROC',
  /** The loader would not find a dependency of the library. */
  ERR_SOSWAP_MISSING_DEPENDENCY: 'ERR_SOSWAP_MISSING_DEPENDENCY',
  /**
   * The library cannot be bound to the image of another handle: in the library's string table, the name of that dependency
   * shares its bytes with another string. The message says how to link it.
   */
  ERR_SOSWAP_SHARED_NAME: 'ERR_SOSWAP_SHARED_NAME',
  /**
   * A library cannot be bound to the member of its group that it needs: two members have the name, the library was opened
   * first, or the new file of that member no longer has the name.
   */
  ERR_SOSWAP_NOT_BOUND: 'ERR_SOSWAP_NOT_BOUND',
  /** With their new files, members of a group would need each other in a circle. The message names them. */
  ERR_SOSWAP_DEPENDENCY_CYCLE: 'ERR_SOSWAP_DEPENDENCY_CYCLE',
  /** Another member of the group is bound to the library of the handle, which stays open. */
  ERR_SOSWAP_NEEDED: 'ERR_SOSWAP_NEEDED',
  /**
   * The file of a dependency was replaced while the old one is loaded, and the loader would use the old one. Other code
   * holds it, the old image stays mapped, or `open-first` or `verify` loads the candidate beside the old image. If another
   * handle has loaded it, the message names the path of that handle.
   */
  ERR_SOSWAP_REPLACED_DEPENDENCY: 'ERR_SOSWAP_REPLACED_DEPENDENCY',
  /** No loaded library and no dependency defines symbols that the library needs. `symbol` is the first one. */
  ERR_SOSWAP_UNDEFINED_SYMBOL: 'ERR_SOSWAP_UNDEFINED_SYMBOL',
  /** The addon of soswap does not load. The message says what helps: `npx soswap build`, or a permission of Node.js. */
  ERR_SOSWAP_ADDON: 'ERR_SOSWAP_ADDON',
  /** `install()` could not write the destination, which is unchanged. `cause` is the error of the system. */
  ERR_SOSWAP_INSTALL: 'ERR_SOSWAP_INSTALL',
  /** A control socket cannot be served, or it refused a request. */
  ERR_SOSWAP_CONTROL: 'ERR_SOSWAP_CONTROL',
  /** A hook of the library refused the load, the swap or its own unloading. The message ends with its sentence. */
  ERR_SOSWAP_REFUSED_BY_LIBRARY: 'ERR_SOSWAP_REFUSED_BY_LIBRARY',
  /** The library has hooks, and was compiled with a soswap.h that does not fit, or without one. */
  ERR_SOSWAP_HOST_ABI: 'ERR_SOSWAP_HOST_ABI',
  /** A variable that the library keeps points into its image, or is none that can be written. The message names it. */
  ERR_SOSWAP_KEPT_VARIABLE: 'ERR_SOSWAP_KEPT_VARIABLE',
  /** The library saved a state of more than 1 GiB. */
  ERR_SOSWAP_STATE_TOO_LARGE: 'ERR_SOSWAP_STATE_TOO_LARGE',
  /** A native function or a hook of the library threw a C++ exception. */
  ERR_SOSWAP_NATIVE_EXCEPTION: 'ERR_SOSWAP_NATIVE_EXCEPTION',
  /** The system has no memory, disk space, descriptors, threads or stack left. The message names the limit. */
  ERR_SOSWAP_SYSTEM: 'ERR_SOSWAP_SYSTEM',
} as const;

export type SoErrorCode = (typeof SoErrorCode)[keyof typeof SoErrorCode];

/** Creates the error of a system call, as Node.js does; `errno` is negative. */
function systemError(errno: number): Error {
  const [code, text] = systemErrors().get(errno) ?? [`errno ${-errno}`, 'unknown error'];
  return Object.assign(new Error(`${code}: ${text}`), { errno, code });
}

/** Checks whether a later try may succeed with the same file: a writer closes it, or calls end. */
export function isTemporary(error: unknown): boolean {
  const temporary = ['ERR_SOSWAP_BEING_WRITTEN', 'ERR_SOSWAP_BUSY', 'ERR_SOSWAP_NOT_FOUND'];
  return error instanceof SoError && temporary.includes(error.code);
}

/** Creates the error of an argument of the wrong type, with the code and the text of Node.js. */
export function argumentTypeError(name: string, expected: string, value: unknown): TypeError {
  const error = new TypeError(
    `The "${name}" argument must be ${expected}. Received ${inspect(value, { depth: 0 })}`,
  );
  return Object.assign(error, { code: 'ERR_INVALID_ARG_TYPE' });
}

/** Creates the error of an argument with a value that is not allowed, with the code and the text of Node.js. */
export function argumentValueError(name: string, reason: string, value: unknown): TypeError {
  const error = new TypeError(
    `The argument "${name}" ${reason}. Received ${inspect(value, { depth: 0 })}`,
  );
  return Object.assign(error, { code: 'ERR_INVALID_ARG_VALUE' });
}

/** Creates the error of a part of the C library. */
export function cLibrary(path: string, what: string, why: string): SoError {
  const message = `cannot ${what} '${path}': it is part of the C library, and ${why}`;
  return new SoError('ERR_SOSWAP_C_LIBRARY', message, path);
}

/** Creates the error of an image that dlopen(3) would return again. */
export function stillLoaded(
  path: string,
  reasons: readonly { readonly detail: string }[],
): SoError {
  const why = reasons.map(({ detail }) => detail).join('; ');
  const message =
    `cannot swap '${path}': dlopen(3) would return the old image, which stays loaded: ${why}; ` +
    "open it with image: 'snapshot' and the new code takes effect all the same";
  return new SoError('ERR_SOSWAP_STILL_LOADED', message, path);
}

/**
 * Creates the error of a library that lacks symbols of the definitions.
 *
 * @param hints What the library has instead, for each name.
 */
export function missingSymbols(
  path: string,
  names: readonly string[],
  hints: readonly NameHints[] = [],
): SoError {
  const once = [...new Set(names)];
  const list = once.join(', ');
  const text = once.length === 1 ? `symbol ${list} is absent` : `symbols are absent: ${list}`;
  const message = `cannot use '${path}': ${text}${cureOf(hints)}`;
  return new SoError('ERR_SOSWAP_MISSING_SYMBOL', message, path, names[0]);
}

function cureOf(hints: readonly NameHints[]): string {
  const mangled = hints.flatMap((each) => each.mangled);
  if (mangled.length > 0) {
    const found = `the library exports the C++ function ${mangled.join(', ')}`;
    return `; ${found}: declare it extern "C", or use the mangled name`;
  }
  const addonSymbol = hints[0]?.addonSymbol ?? null;
  return addonSymbol === null ? '' : `; ${addonAdvice(addonSymbol)}`;
}

/** What to do with a library that is an addon because of this symbol. */
export function addonAdvice(symbol: string): string {
  return (
    `the file is a Node.js addon, because of its symbol ${symbol}: require() loads it, and nothing unloads it; ` +
    'to swap C functions, build them as a shared object of their own'
  );
}

/** Creates the error of a library whose dependencies were replaced while the old ones are loaded. */
export function replacedDependencies(path: string, files: readonly string[]): SoError {
  const message =
    `cannot load '${path}': its dependency ${files.join(', ')} was replaced after it was loaded, and the loader would ` +
    "use the old one; close all other users of it, and swap with order 'close-first' and without verify";
  return new SoError('ERR_SOSWAP_REPLACED_DEPENDENCY', message, path);
}

/** Creates the error of a library that would be bound to a stale image of another handle. */
export function staleImage(
  path: string,
  { path: other, generation, givenUp, neededBy }: StaleImage,
): SoError {
  const image = `image ${generation} of the handle of '${other}'`;
  const users = neededBy.filter((name) => name !== path);
  const why = givenUp
    ? 'which that handle has given up'
    : 'and the file of that handle was replaced since';
  const held = users.length === 0 ? '' : `, and which ${users.join(', ')} needs too`;
  const together =
    "swap all that need it in one swapAll() with order 'close-first' and without verify, or open them in one SoGroup";
  const way = givenUp ? together : `swap that handle first, or ${together}`;
  const message = `cannot load '${path}': the loader would bind it to ${image}, ${why}${held}; ${way}`;
  return new SoError('ERR_SOSWAP_REPLACED_DEPENDENCY', message, path);
}

/** Creates the error of a library with imports that nothing provides. */
export function undefinedSymbols(path: string, symbols: readonly UndefinedSymbol[]): SoError {
  const list = symbols.map(({ name, version, neededBy }) => {
    const wanted = version === '' ? name : `${name}@${version}`;
    return neededBy === path ? wanted : `${wanted} (needed by ${neededBy})`;
  });
  const message = `cannot load '${path}': nothing provides ${list.join(', ')}`;
  return new SoError('ERR_SOSWAP_UNDEFINED_SYMBOL', message, path, symbols[0]?.name);
}
