import { libraryPath } from '../files/library-path.js';
import type { UnloadPolicy } from '../image/image-info.js';
import { fileMapping, snapshotMapping } from '../image/mapping.js';
import { defaultRetainedLimit, RetainedImages, retainedLimit } from '../image/retained-images.js';
import { neededEdits, newLibrary, type Source } from '../image/source.js';
import { dlopenFlags } from '../internal/dlopen-flags.js';
import { argumentValueError } from '../internal/errors.js';
import {
  checkOptions,
  defaultTimeout,
  flag,
  milliseconds,
  oneOf,
  unloadPolicy,
} from '../internal/options.js';
import type { CopyEdit } from '../native/types.js';
import type { LoadPlan } from '../swap/open-beside.js';

/** The options of `SoHandle.open()`: how the library is loaded, now and at every swap. */
export interface OpenOptions {
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
}

/** The options of `SoHandle.openAsync()`. */
export interface OpenAsyncOptions extends OpenOptions {
  /**
   * The thread that loads the first image, and so runs the constructors of the library; it ends when they are done.
   * `main`: the JavaScript thread, as `open()` does. Defaults to `thread`.
   */
  readonly loadOn?: 'thread' | 'main';
  /**
   * Milliseconds, 1,000 or more, that the constructors may take on another thread before `openAsync()` fails with
   * `ERR_SOSWAP_LOADER`; `loadOn: 'main'` does not take it. Defaults to 10,000.
   */
  readonly timeout?: number;
}

/**
 * Reads and checks the options that say how the first image is loaded.
 *
 * @throws {TypeError | RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`
 */
export function loadPlan(options: OpenAsyncOptions): LoadPlan {
  checkOptions(options);
  const { timeout } = options;
  const onThread = oneOf('options.loadOn', options.loadOn, ['thread', 'main']) === 'thread';
  if (timeout !== undefined && !onThread) {
    throw argumentValueError('options.timeout', "has no effect with loadOn: 'main'", timeout);
  }
  return { onThread, timeout: milliseconds('options.timeout', timeout, defaultTimeout) };
}

/**
 * Reads and checks the options, then looks the path up, and creates the source of a handle.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`
 */
export function sourceOf(location: unknown, options: OpenOptions): Source {
  checkOptions(options);
  const { symbolic: symbolFirst, uniqueSymbols, debugInfo: withDebugInfo, noexec } = options;
  const scope = oneOf('options.scope', options.scope, ['local', 'global']);
  const binding = oneOf('options.binding', options.binding, ['now', 'lazy']);
  const image = oneOf('options.image', options.image, ['auto', 'snapshot', 'direct']);
  const unique = oneOf('options.uniqueSymbols', uniqueSymbols, ['global', 'unique']);
  const symbolic = symbolFirst === undefined || flag('options.symbolic', symbolFirst);
  const allowNoexec = oneOf('options.noexec', noexec, ['refuse', 'allow']) === 'allow';
  const unload = unloadPolicy(options.unload);
  const debugInfo = flag('options.debugInfo', withDebugInfo);
  const limit = retainedLimit('options.maxRetained', options.maxRetained, defaultRetainedLimit);
  const mapping = image === 'direct' ? fileMapping : snapshotMapping;
  if (mapping === fileMapping) {
    const copyOnly = { symbolic: symbolFirst, uniqueSymbols, debugInfo: withDebugInfo, noexec };
    for (const [name, value] of Object.entries(copyOnly)) assertAbsent(name, value);
  }
  if (scope === 'global' && !symbolic) {
    const why =
      "must be true with scope: 'global', or a new image would call the functions of the old one";
    throw argumentValueError('options.symbolic', why, symbolic);
  }
  const path = libraryPath(location);
  const edits: CopyEdit[] = ['bind-imports'];
  if (unique === 'global') edits.push('demote-unique-symbols');
  if (symbolic) edits.push('bind-symbolically');
  if (unload === 'always') edits.push('clear-nodelete');
  const { RTLD_GLOBAL, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW } = dlopenFlags;
  return {
    path,
    library: newLibrary(path, {
      extent: debugInfo ? 'whole' : 'loadable',
      ownFirst: symbolic && mapping === snapshotMapping,
      allowNoexec,
      mapsCopy: mapping === snapshotMapping,
      edits: [...neededEdits, ...mapping.edits(edits)],
    }),
    mode:
      (scope === 'global' ? RTLD_GLOBAL : RTLD_LOCAL) | (binding === 'lazy' ? RTLD_LAZY : RTLD_NOW),
    mapping,
    unload,
    retained: new RetainedImages(path, limit),
  };
}

function assertAbsent(name: string, value: unknown): void {
  if (value === undefined) return;
  const why = "has no effect with image: 'direct', which maps no private copy";
  throw argumentValueError(`options.${name}`, why, value);
}
