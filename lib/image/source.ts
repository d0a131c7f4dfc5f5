import { dlopenFlags } from '../internal/dlopen-flags.js';
import { checkOptions, flag, oneOf } from '../internal/options.js';
import {
  type CopyEdit,
  type NativeLibrary,
  native,
  type SnapshotOptions,
} from '../native/addon.js';
import { type UnloadPolicy, unloadPolicy } from '../swap/plan.js';
import { RetainedImages, retainedLimit } from './retained-images.js';

/** How `SoHandle.open()` loads the library, now and at every swap. */
export interface OpenOptions {
  /** `RTLD_LOCAL` (default) or `RTLD_GLOBAL` of dlopen(3). */
  readonly scope?: 'local' | 'global';
  /** `RTLD_NOW` (default) or `RTLD_LAZY` of dlopen(3). */
  readonly binding?: 'now' | 'lazy';
  /**
   * `snapshot`: a private sealed copy is mapped, and whatever happens to the file changes nothing before
   * the next swap. `direct`: the file itself is mapped, as dlopen(3) does; overwriting it in place can
   * then kill the process, and a swap is refused with `ERR_SOSWAP_STILL_LOADED` where the old image would stay mapped.
   * `auto` (default) is `snapshot`.
   */
  readonly image?: 'auto' | 'snapshot' | 'direct';
  /**
   * What becomes of old images. Default `auto`. With `always`, DF_1_NODELETE is cleared in the private copy, so that the
   * loader unmaps the image; not for Go.
   */
  readonly unload?: UnloadPolicy;
  /**
   * STB_GNU_UNIQUE symbols keep an image mapped for ever, and have the next one use its static data. `global`
   * (default) makes them STB_GLOBAL in the private copy, `unique` leaves them.
   */
  readonly uniqueSymbols?: 'global' | 'unique';
  /**
   * Whether the private copy gets what only debuggers read even where that is 4 MiB or more. gdb(1) then knows the
   * functions and lines of the library, and each swap copies that much more. Default `false`.
   */
  readonly debugInfo?: boolean;
  /** How much may stay mapped of old images before a swap is refused with `ERR_SOSWAP_RETAINED_LIMIT`. */
  readonly maxRetained?: {
    /** So many images of this handle. 0 or more; default 1,000. */
    readonly images?: number;
    /** So many bytes of address space. 0 or more; default 1 GiB. */
    readonly bytes?: number;
  };
}

/** Where candidates come from, how they are loaded, and who keeps count of what stays of them. */
export interface Source {
  readonly path: string;
  readonly library: NativeLibrary;
  /** The flags of dlopen(3). */
  readonly mode: number;
  /** Map the file itself, not a private copy. */
  readonly direct: boolean;
  /** What becomes of images when nobody says otherwise. */
  readonly unload: UnloadPolicy;
  readonly retained: RetainedImages;
}

/** The source of a handle. */
export function sourceOf(path: string, options: OpenOptions): Source {
  checkOptions(options);
  const scope = oneOf('options.scope', options.scope, ['local', 'global']);
  const binding = oneOf('options.binding', options.binding, ['now', 'lazy']);
  const image = oneOf('options.image', options.image, ['auto', 'snapshot', 'direct']);
  const unique = oneOf('options.uniqueSymbols', options.uniqueSymbols, ['global', 'unique']);
  const unload = unloadPolicy(options.unload);
  const debugInfo = flag('options.debugInfo', options.debugInfo);
  const { RTLD_GLOBAL, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW } = dlopenFlags;
  const direct = image === 'direct';
  const edits = [...neededEdits];
  if (!direct && unique === 'global') edits.push('demote-unique-symbols');
  if (!direct && scope === 'global') edits.push('bind-symbolically');
  if (!direct && unload === 'always') edits.push('clear-nodelete');
  return {
    path,
    library: new native.Library(
      path,
      copyOptions({ extent: debugInfo ? 'whole' : 'loadable', edits }),
    ),
    mode:
      (scope === 'global' ? RTLD_GLOBAL : RTLD_LOCAL) | (binding === 'lazy' ? RTLD_LAZY : RTLD_NOW),
    direct,
    unload,
    retained: new RetainedImages(path, retainedLimit(options.maxRetained)),
  };
}

/** A source for a look at a file, without a handle. */
export function plainSource(path: string, copy: Partial<SnapshotOptions> = {}): Source {
  return {
    path,
    library: new native.Library(path, copyOptions(copy)),
    mode: dlopenFlags.RTLD_NOW,
    direct: false,
    unload: 'auto',
    retained: new RetainedImages(path),
  };
}

/** Without these some libraries do not load from a copy. */
const neededEdits: readonly CopyEdit[] = ['shorten-needed-from-origin'];

function copyOptions(options: Partial<SnapshotOptions>): SnapshotOptions {
  return {
    // For tests, and for systems that forbid executable memfds in a way that shows too late.
    storage: process.env.SOSWAP_SNAPSHOT === 'file' ? 'file' : 'memory',
    extent: 'loadable',
    allowWriter: false,
    edits: neededEdits,
    ...options,
  };
}
