/** Loads the addon and gives it types. No other file touches it. */

import { fileURLToPath } from 'node:url';
import bindings from 'bindings';
import type { EncodedSignature } from '../call/signature.js';
import type { SoDependency, SoExport, SoImport } from '../facts/inspect.js';
import { SoError } from '../internal/errors.js';
import type { RetainReason } from '../swap/report.js';

/** A change of the private copy before it is loaded; native/core/elf/edit.h. */
export type CopyEdit =
  /** STB_GNU_UNIQUE symbols become STB_GLOBAL. */
  | 'demote-unique-symbols'
  /** DF_1_NODELETE is cleared, but never for Go. */
  | 'clear-nodelete'
  /** DF_SYMBOLIC is set: the image binds to its own symbols before those of older global images. */
  | 'bind-symbolically'
  /** DT_NEEDED entries that begin at $ORIGIN ask for the bare name, which loading a snapshot relies on. */
  | 'shorten-needed-from-origin';

/** How a file becomes a private copy; native/core/copy/copy_plan.h. */
export interface SnapshotOptions {
  /** A file in memory, or one without a name in `$TMPDIR`. */
  readonly storage: 'memory' | 'file';
  /** `loadable` leaves out what only debuggers read, where that is much. */
  readonly extent: 'loadable' | 'whole';
  /** Take the file even if somebody has it open for writing. */
  readonly allowWriter: boolean;
  /** Applied in this order. */
  readonly edits: readonly CopyEdit[];
}

/** What a snapshot tells of the file that it was taken from. */
export interface SnapshotFacts {
  readonly id: number;
  readonly device: bigint;
  readonly inode: bigint;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly buildId: string | null;
  /** Descriptor of the copy; it may be longer than `size`. */
  readonly descriptor: number;
  /** The loader is sure to keep an image of it. */
  readonly staysMapped: boolean;
  /** Why unmapping an image of it could crash the process; empty if nothing speaks against it. */
  readonly unmapHazards: readonly RetainReason[];
  /** What binding would find, where it was asked for and there is something to tell. */
  readonly resolution: Resolution | null;
}

/** What an image of a snapshot has to provide, and what it will find. */
export type Needs = [
  /** Those of its symbols that are not optional must be there. */
  slots: NativeSlots,
  /** All that the library imports must be there. */
  bindNow: boolean,
  /** The loader's name of the image that will be closed before; empty for none. */
  leaving: string,
];

/** What the three ways to open an image have in common. */
export type ImageRequest = [
  snapshot: number,
  /** The flags of dlopen(3). */
  mode: number,
  generation: number,
  /** Whether the image may be unmapped if nobody gives it up: its handle was dropped, its thread ends. */
  mayUnmap: boolean,
];

/** What the loader says of an image. */
export interface ImageFacts {
  readonly id: number;
  readonly base: bigint;
  readonly loaderName: string;
  readonly memorySize: number;
}

/** What binding would find. */
export interface Resolution {
  /** Symbols that neither the library nor a dependency has. */
  readonly missing: readonly string[];
  /** Imports that nothing provides. */
  readonly undefined: readonly {
    readonly name: string;
    readonly version: string;
    readonly neededBy: string;
  }[];
  /** Why unmapping the dependencies that come along could crash the process. */
  readonly hazards: readonly RetainReason[];
  /** Loaded dependencies whose file was replaced since. */
  readonly replaced: readonly string[];
}

/** What native/binding/inspect_wrap.cc tells of a file; lib/facts/inspect.ts documents it. */
export interface NativeInspection {
  readonly machine: string;
  readonly soname: string | null;
  readonly runpath: string | null;
  readonly rpath: string | null;
  readonly memorySize: number;
  readonly threadLocalStorage: boolean;
  readonly staticTls: boolean;
  readonly noDelete: boolean;
  readonly symbolic: boolean;
  readonly textRelocations: boolean;
  readonly bindNow: boolean;
  readonly go: boolean;
  readonly threadLocalDestructors: boolean;
  readonly uniqueSymbols: readonly string[];
  readonly exports: readonly SoExport[];
  readonly imports: readonly SoImport[];
  readonly dependencies: readonly SoDependency[];
  readonly dependencyHazards: readonly RetainReason[];
}

/** All snapshots and images of one library, by number; native/binding/library_wrap.h. */
export interface NativeLibrary {
  takeSnapshot(file: string, ...needs: Needs | []): SnapshotFacts;
  takeSnapshotAsync(file: string, ...needs: Needs | []): Promise<SnapshotFacts>;
  /** All that the file tells, without loading it. */
  inspect(snapshot: number): NativeInspection;
  /** Whether a snapshot of the library's file, taken now, would have the same bytes. */
  stillInFile(snapshot: number): boolean;
  stillInFileAsync(snapshot: number): Promise<boolean>;
  /** An image that was opened from it keeps the copy. */
  releaseSnapshot(snapshot: number): void;
  openImage(...request: ImageRequest): ImageFacts;
  /** The same on another thread, which also looks up the symbols for the commit. */
  openImageAsync(...request: [...ImageRequest, slots: NativeSlots]): Promise<ImageFacts>;
  /** Loads the file itself. */
  openFile(...request: ImageRequest): ImageFacts;
  /** Takes the image that the loader still has under this name. */
  reopenImage(...request: [...ImageRequest, loaderName: string]): ImageFacts;
  symbol(image: number, name: string): bigint | undefined;
  callsInFlight(image: number): number;
  /** dlclose(3). Why the image is still mapped afterwards; empty if it is gone. */
  closeImage(image: number): RetainReason[];
  /** The same on another thread, which releases the snapshot too. */
  closeImageAsync(image: number, snapshot: number): Promise<RetainReason[]>;
  /** Gives the image up and leaves it mapped, for these reasons. */
  keepImage(image: number, reasons: readonly RetainReason[]): void;
}

/** One entry of the process-wide list; native/core/image/loaded_images.h. */
export interface NativeLoadedImage {
  readonly path: string;
  readonly generation: number;
  readonly device: bigint;
  readonly inode: bigint;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly buildId: string | null;
  readonly base: bigint;
  readonly mappedFrom: string;
  readonly memorySize: number;
  readonly thread: number;
  readonly callsInFlight: number;
  readonly neededBy: readonly string[];
  readonly retained: readonly RetainReason[];
}

/** What the bound functions of one handle point at; native/binding/call/slots_wrap.h. */
export interface NativeSlots {
  bind(symbol: string, signature: EncodedSignature, optional: boolean): BoundFunction;
  commit(image: number): { missing: string[]; absent: string[] };
  /** Until the next commit every call throws `ERR_SOSWAP_NOT_LOADED`. */
  detach(): void;
  /** For ever every call throws `ERR_SOSWAP_CLOSED`. */
  close(): void;
  /** Nonblocking calls made from now on wait for `release()`. */
  hold(): void;
  release(): void;
  /** Resolves when the next nonblocking call has settled. */
  nextSettled(): Promise<void>;
}

/** A JavaScript function for one symbol and one signature. */
export type BoundFunction = (...args: unknown[]) => unknown;

interface Addon {
  initialize(soError: typeof SoError): void;
  Library: new (path: string, options: SnapshotOptions) => NativeLibrary;
  Slots: new (path: string, library: NativeLibrary) => NativeSlots;
  loadedImages(): NativeLoadedImage[];
  isLoaded(loaderName: string): boolean;
  /** The path that dlopen(3) finds for a bare name. */
  findLibrary(name: string): string;
  /** The descriptor of a file without a name, in memory if the system allows it. It is closed with the thread at the latest. */
  openMemoryFile(): number;
  closeMemoryFile(descriptor: number): void;
  /** The kernel ends this process when the thread that started it ends, and after `seconds`. */
  dieWithParent(parent: number, seconds: number): void;
  /** No core(5) file is written when this process crashes. */
  leaveNoCore(): void;
  /** Gives a file that was opened with O_TMPFILE a name. */
  linkDescriptor(descriptor: number, path: string): void;
  /** flock(2), exclusive, without waiting. `impossible`: the file system has no locks. */
  lockDescriptor(descriptor: number): 'locked' | 'by-another' | 'impossible';
  dlopen(path: string | null, flags: number): bigint;
  dlsym(handle: bigint, symbol: string): bigint;
  dlclose(handle: bigint): number;
  functionAt(address: bigint, name: string, signature: EncodedSignature): BoundFunction;
}

/** From the top of the package: what was compiled here comes before what the package brought. */
const places = [
  ['module_root', 'build', 'Release', 'bindings'],
  ['module_root', 'prebuilds', `${process.platform}-${process.arch}`, 'bindings'],
];

function load(): Addon {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  let addon: Addon;
  try {
    addon = bindings({ bindings: 'soswap', module_root: root, try: places });
  } catch (cause) {
    throw new SoError('ERR_SOSWAP_ADDON', whyNoAddon(cause), root, undefined, { cause });
  }
  addon.initialize(SoError);
  return addon;
}

function whyNoAddon(cause: unknown): string {
  const here = `${process.platform}-${process.arch}`;
  if (!['linux-x64', 'linux-arm64'].includes(here)) {
    return `soswap runs on Linux, x64 and arm64; this is ${here}`;
  }
  const wayOut = 'npx soswap build compiles one from the sources in the package';
  // What bindings() throws when it found no file at all.
  if (cause instanceof Error && 'tries' in cause) {
    return `soswap has no binary of its addon for ${here} here; ${wayOut}`;
  }
  const reason = cause instanceof Error ? cause.message : String(cause);
  return `the binary of soswap's addon does not load on this system (${reason}); ${wayOut}`;
}

export const native = load();
