import type { Definitions } from '../call/types.js';
import { libraryPath } from '../files/library-path.js';
import type { UnloadPolicy } from '../image/image-info.js';
import { fileMapping, snapshotMapping } from '../image/mapping.js';
import { defaultRetainedLimit, RetainedImages, retainedLimit } from '../image/retained-images.js';
import { neededEdits, newLibrary, type Source } from '../image/source.js';
import { dlopenFlags } from '../internal/dlopen-flags.js';
import { argumentTypeError, argumentValueError } from '../internal/errors.js';
import { isUint8Array } from '../internal/node-util.js';
import {
  callback,
  count,
  defaultTimeout,
  flag,
  type Keys,
  milliseconds,
  oneOf,
  readOptions,
  type Unchecked,
  unloadPolicy,
} from '../internal/options.js';
import { native } from '../native/addon.js';
import type { CopyEdit, HandedOver } from '../native/types.js';
import type { FirstPlan } from '../swap/first.js';
import {
  planQuarantine,
  type QuarantineOptions,
  type SwapOptions,
  swapDefaults,
  type Verify,
} from '../swap/plan.js';

/** The options of `SoHandle.open()`: how the library is loaded, now and at every swap. */
export interface OpenOptions<D extends Definitions = Definitions> {
  /** `RTLD_LOCAL` or `RTLD_GLOBAL` of dlopen(3). Defaults to `local`. */
  readonly scope?: 'local' | 'global';
  /** `RTLD_NOW` or `RTLD_LAZY` of dlopen(3). Defaults to `now`. */
  readonly binding?: 'now' | 'lazy';
  /**
   * The file that is mapped. `snapshot`: a private sealed copy; no change of the library's file has an effect before the
   * next swap, and dladdr(3), dlopen(3) and dl_iterate_phdr(3), called by the library, report and search as if the
   * file were mapped. `direct`: the file itself, as dlopen(3) maps it; overwriting it in place can then kill the process, and a
   * swap is refused with `ERR_SOSWAP_STILL_LOADED` where the old image would stay mapped. `auto` is `snapshot`. Defaults
   * to `auto`.
   */
  readonly image?: 'auto' | 'snapshot' | 'direct';
  /**
   * The library's own symbols, and those of its dependencies, before symbols of the same name that the program exports, as
   * if linked with `-Bsymbolic`. Node.js exports those of its OpenSSL, zlib, zstd, libuv, nghttp2, c-ares and ICU. An
   * allocator (malloc(3), operator new) stays that of the program. `false`: the program's symbols come first, as with
   * dlopen(3), for a library whose functions the program replaces. `image: 'direct'` does not take it, and `scope: 'global'` does
   * not take `false`. Defaults to `true`.
   */
  readonly symbolic?: boolean;
  /**
   * The fate of old images. With `always`, DF_1_NODELETE is cleared in the private copy, so that the loader unmaps the
   * image; not for Go. Defaults to `auto`.
   */
  readonly unload?: UnloadPolicy;
  /**
   * The binding of STB_GNU_UNIQUE symbols, which keep an image mapped for ever, and give its static data to the next
   * image. `global` makes them STB_GLOBAL in the private copy, `unique` leaves them. `image: 'direct'` does not take it.
   * Defaults to `global`.
   */
  readonly uniqueSymbols?: 'global' | 'unique';
  /**
   * Symbols and debug information in the private copy, which takes as much memory as the file then. gdb(1) and
   * AddressSanitizer read the names of functions and the lines there, and each swap copies that much more. `image: 'direct'`
   * does not take it. Defaults to `false`.
   */
  readonly debugInfo?: boolean;
  /**
   * The images of the library's dependencies. `shared`: those that the loader has or finds, as with dlopen(3). `private`:
   * own copies of the dependencies that were deployed with the library: its DT_RUNPATH or DT_RPATH, or that of such a
   * dependency, finds them in its directory, below it or beside it. They are swapped with the library as one, `status()`
   * and `watch()` look at their files too, and overwriting one in place changes nothing. `image: 'direct'` does not take
   * it. Defaults to `shared`.
   */
  readonly dependencies?: 'shared' | 'private';
  /**
   * The fate of a library whose file system is mounted `noexec`. `refuse`: `ERR_SOSWAP_NOEXEC`, as dlopen(3) refuses it.
   * `allow`: the private copy is run, against the will of whoever mounted the file system; `image: 'direct'` does not
   * take it. Defaults to `refuse`.
   */
  readonly noexec?: 'refuse' | 'allow';
  /**
   * The limit of the retained images of this handle; a swap over it is refused with `ERR_SOSWAP_RETAINED_LIMIT`.
   * {@link limitRetained} limits those of the process.
   */
  readonly maxRetained?: {
    /** Images of this handle, 0 or more. Defaults to 1,000. */
    readonly images?: number;
    /** Bytes of memory that they hold: private copies, and pages that were written. 0 or more. Defaults to 1 GiB. */
    readonly bytes?: number;
  };
  /**
   * Earlier generations whose private copies are kept, so that {@link SoHandle.rollback} can go back to them: 0 to 1,000.
   * Each holds as much memory as its `copySize` says; `historySize` of {@link loaded} is the sum. `image: 'direct'` keeps
   * none. Defaults to 1.
   */
  readonly history?: number;
  /**
   * Counts what each image takes and does not give back by the functions that it imports: memory, descriptors and
   * mappings. The report of a swap tells it of the old image in `leftBehind`. What another library frees for it, or takes
   * for it, is not seen. Each such call takes a lock; for tests and for the search of leaks. `image: 'direct'` does not
   * take it. Defaults to `false`.
   */
  readonly account?: boolean;
  /**
   * The state that the first image gets in its hook soswap_load, as another image handed it over: a copy is taken. A
   * library without that hook ignores it. Defaults to none. At most 1 GiB.
   */
  readonly state?: Uint8Array;
  /** The version of `state`, an integer from 0 to 4,294,967,295. Defaults to 0. */
  readonly stateVersion?: number;
  /**
   * A trial in a child process, before this process loads the library: a crash, a hang or an error there refuses it with
   * `ERR_SOSWAP_QUARANTINE`. `open()` waits for the child on this thread. `swap` says whether swaps have one. Defaults to
   * `false`.
   */
  readonly quarantine?: boolean | QuarantineOptions;
  /**
   * A function that judges the library before it is opened, as `verify` of a swap does: it gets the functions of an image
   * that is unmapped afterwards, and `ERR_SOSWAP_VERIFY` refuses the library unless it returns `true` or nothing. `open()`
   * takes no promise. `swap` says how swaps are verified. Defaults to no judgement.
   */
  readonly verify?: Verify<D>;
  /**
   * The options of every swap of the handle, by whatever it is started, that has no option of its own. `swapSync()` uses
   * those that it takes. Defaults to those of {@link SoHandle.swap}.
   */
  readonly swap?: SwapOptions<D>;
}

/** The options of `SoHandle.openAsync()`. */
export interface OpenAsyncOptions<D extends Definitions = Definitions> extends OpenOptions<D> {
  /**
   * The thread that loads the first image, and so runs the constructors of the library; it ends when they are done.
   * `main`: the JavaScript thread, as `open()` does. Defaults to `thread`.
   */
  readonly loadOn?: 'thread' | 'main';
  /**
   * Milliseconds, 1,000 or more, that the constructors may take on another thread before `openAsync()` fails with
   * `ERR_SOSWAP_LOADER`, and `verify` before it fails with `ERR_SOSWAP_VERIFY`; `loadOn: 'main'` does not take it without
   * `verify`. Defaults to 10,000.
   */
  readonly timeout?: number;
}

const openKeys: Keys<OpenAsyncOptions> = {
  scope: true,
  binding: true,
  image: true,
  symbolic: true,
  unload: true,
  uniqueSymbols: true,
  debugInfo: true,
  noexec: true,
  maxRetained: true,
  history: true,
  account: true,
  state: true,
  stateVersion: true,
  dependencies: true,
  quarantine: true,
  verify: true,
  swap: true,
  loadOn: true,
  timeout: true,
};

/** The options of a group: those of {@link SoHandle.open} for each member, unless its own say otherwise. */
export type GroupOptions = Omit<
  OpenOptions,
  'image' | 'verify' | 'dependencies' | 'state' | 'stateVersion'
>;

const {
  image: _,
  verify: __,
  dependencies: ___,
  loadOn: ____,
  timeout: _____,
  state: ______,
  stateVersion: _______,
  ...groupKeys
} = openKeys;

/**
 * Reads the options of a group. Their values are checked with those of each member.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`
 */
export function readGroupOptions(given: unknown): Unchecked<GroupOptions> {
  return readOptions<GroupOptions>('options', given, groupKeys);
}

/** What a handle is opened with. */
export interface OpenPlan<D extends Definitions> {
  readonly source: Source;
  readonly first: FirstPlan<D>;
}

/**
 * Reads and checks the options, then looks the path up.
 *
 * @param form The call that they are for: an option that has no effect there is refused.
 * @param name What the caller calls the object.
 * @throws {TypeError | RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`
 */
export function planOpen<D extends Definitions>(
  location: unknown,
  given: unknown,
  form: 'open' | 'openAsync',
  name = 'options',
): OpenPlan<D> {
  const options = readOptions<OpenAsyncOptions<D>>(name, given, openKeys);
  const first = firstPlan(options, form, name);
  return { source: sourceOf(location, options, name), first };
}

/** What says how the first image is loaded. */
function firstPlan<D extends Definitions>(
  options: Unchecked<OpenAsyncOptions<D>>,
  form: 'open' | 'openAsync',
  name: string,
): FirstPlan<D> {
  const { timeout, loadOn } = options;
  const verify = callback<Verify<D>>(`${name}.verify`, options.verify);
  const isOnThread = oneOf(`${name}.loadOn`, loadOn, ['thread', 'main']) === 'thread';
  if (form === 'open') {
    assertAbsent(`${name}.loadOn`, loadOn, 'with open(), which loads on this thread');
    assertAbsent(`${name}.timeout`, timeout, 'with open(), which waits for nothing');
  } else if (!isOnThread && verify === undefined) {
    assertAbsent(`${name}.timeout`, timeout, "with loadOn: 'main'");
  }
  return {
    onThread: form === 'openAsync' && isOnThread,
    timeout: milliseconds(`${name}.timeout`, timeout, defaultTimeout),
    quarantine: planQuarantine(`${name}.quarantine`, options.quarantine),
    verify,
    state: firstState(options, name),
    defaults: swapDefaults(
      `${name}.swap`,
      options.swap,
      unloadPolicy(`${name}.unload`, options.unload),
    ),
  };
}

/** What the first image begins with. */
function firstState(
  { state, stateVersion }: Unchecked<OpenOptions>,
  name: string,
): HandedOver | undefined {
  if (state === undefined) {
    assertAbsent(`${name}.stateVersion`, stateVersion, 'without state');
    return undefined;
  }
  if (!isUint8Array(state)) {
    throw argumentTypeError(`${name}.state`, 'a Buffer or a Uint8Array', state);
  }
  const version = count(`${name}.stateVersion`, stateVersion, 0, 2 ** 32 - 1);
  if (state.length > largestState) {
    throw argumentValueError(`${name}.state`, `must have at most ${largestState} bytes`, state);
  }
  return native.handedState(state, version);
}

/** Bytes; native/core/life/handed_over.h. */
const largestState = 2 ** 30;

/** The file, and how each image is taken from it. */
function sourceOf(location: unknown, options: Unchecked<OpenOptions>, name: string): Source {
  const { symbolic: symbolFirst, uniqueSymbols, debugInfo: withDebugInfo, noexec } = options;
  const scope = oneOf(`${name}.scope`, options.scope, ['local', 'global']);
  const binding = oneOf(`${name}.binding`, options.binding, ['now', 'lazy']);
  const image = oneOf(`${name}.image`, options.image, ['auto', 'snapshot', 'direct']);
  const unique = oneOf(`${name}.uniqueSymbols`, uniqueSymbols, ['global', 'unique']);
  const symbolic = symbolFirst === undefined || flag(`${name}.symbolic`, symbolFirst);
  const allowNoexec = oneOf(`${name}.noexec`, noexec, ['refuse', 'allow']) === 'allow';
  const unload = unloadPolicy(`${name}.unload`, options.unload);
  const debugInfo = flag(`${name}.debugInfo`, withDebugInfo);
  const dependencies = oneOf(`${name}.dependencies`, options.dependencies, ['shared', 'private']);
  const limit = retainedLimit(`${name}.maxRetained`, options.maxRetained, defaultRetainedLimit);
  const account = flag(`${name}.account`, options.account);
  const history = count(`${name}.history`, options.history, 1, 1000);
  const mapping = image === 'direct' ? fileMapping : snapshotMapping;
  if (mapping === fileMapping) {
    const { history, account } = options;
    const copyOnly = {
      history,
      account,
      symbolic: symbolFirst,
      uniqueSymbols,
      debugInfo: withDebugInfo,
      noexec,
    };
    if (dependencies === 'private') Object.assign(copyOnly, { dependencies });
    const direct = "with image: 'direct', which maps no private copy";
    for (const [key, value] of Object.entries(copyOnly)) {
      assertAbsent(`${name}.${key}`, value, direct);
    }
  }
  if (scope === 'global' && !symbolic) {
    const why =
      "must be true with scope: 'global', or a new image would call the functions of the old one";
    throw argumentValueError(`${name}.symbolic`, why, symbolic);
  }
  const edits: CopyEdit[] = ['bind-imports'];
  if (unique === 'global') edits.push('demote-unique-symbols');
  if (symbolic) edits.push('bind-symbolically');
  if (unload === 'always') edits.push('clear-nodelete');
  const { RTLD_GLOBAL, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW } = dlopenFlags;
  const sourceAt = (path: string, more: readonly CopyEdit[] = []): Source => ({
    path,
    library: newLibrary(path, {
      extent: debugInfo ? 'whole' : 'loadable',
      ownFirst: symbolic && mapping === snapshotMapping,
      allowNoexec,
      mapsCopy: mapping === snapshotMapping,
      account,
      edits: [...neededEdits, ...mapping.edits(edits), ...more],
    }),
    mode:
      (scope === 'global' ? RTLD_GLOBAL : RTLD_LOCAL) | (binding === 'lazy' ? RTLD_LAZY : RTLD_NOW),
    mapping,
    unload,
    account,
    retained: new RetainedImages(path, limit),
    history,
  });
  const hidden = (path: string) => ({ ...sourceAt(path, ['hide-soname']), history: 0 });
  const sourceOfDependency = dependencies === 'private' ? hidden : undefined;
  return { ...sourceAt(libraryPath(location)), sourceOfDependency };
}

function assertAbsent(name: string, value: unknown, where: string): void {
  if (value === undefined) return;
  throw argumentValueError(name, `has no effect ${where}`, value);
}
