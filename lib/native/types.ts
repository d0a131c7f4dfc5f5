/**
 * What the addon offers, and what passes between it and TypeScript. native/binding/ is the other side.
 *
 * @module
 */

import type { RetainReason } from '../image/image-info.js';

/** A symbol that a library offers. */
export interface SoExport {
  /** As dlsym(3) takes it; of C++ the mangled name. */
  readonly name: string;
  /** STT_FUNC, STT_GNU_IFUNC, STT_OBJECT, STT_TLS or STT_NOTYPE of elf(5). */
  readonly type: 'function' | 'indirect-function' | 'object' | 'thread-local' | 'none';
  /** STB_GLOBAL, STB_WEAK or STB_GNU_UNIQUE of elf(5). */
  readonly binding: 'global' | 'weak' | 'unique';
  /** Of the symbol; empty if it has none. */
  readonly version: string;
  /** Bytes of the function or the data; 0 where the file does not tell. */
  readonly size: number;
}

/** A symbol that a library asks others for. */
export interface SoImport {
  /** As its provider exports it. */
  readonly name: string;
  /** That it must have; empty if any will do. */
  readonly version: string;
  /** It may be absent. */
  readonly weak: boolean;
}

/** An object that a library needs, directly or not. */
export interface SoDependency {
  /** As DT_NEEDED has it. */
  readonly name: string;
  /** The file that needs it. */
  readonly neededBy: string;
  /** What the loader would take; `null` if there is nothing. */
  readonly path: string | null;
  /** It is in this process already. */
  readonly loaded?: boolean;
  /** Where it was looked for in vain. */
  readonly lookedIn?: readonly string[];
  /** What is wrong with the file that was found. */
  readonly defect?: string;
}

/** A signature as the addon takes it: numbers of the enum Type in native/core/call/signature.h. */
export interface EncodedSignature {
  readonly returnType: number;
  readonly argumentTypes: readonly number[];
  readonly nonblocking: boolean;
}

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

/** How an image is loaded. */
export type ImageRequest = [
  snapshot: number,
  mapping: 'snapshot' | 'file',
  /** The flags of dlopen(3). */
  mode: number,
  generation: number,
  /** Whether the image may be unmapped if nobody gives it up: its handle was dropped, its thread ends. */
  mayUnmap: boolean,
];

/** What the loader says of an image. */
export interface ImageFacts {
  readonly base: bigint;
  readonly loaderName: string;
  /** `snapshot`, or the path of the file. */
  readonly mappedFrom: string;
  /** Bytes of address space. */
  readonly memorySize: number;
}

/** An import that nothing provides. */
export interface UndefinedSymbol {
  readonly name: string;
  readonly version: string;
  readonly neededBy: string;
}

/** What binding would find. */
export interface Resolution {
  /** Symbols that neither the library nor a dependency has. */
  readonly missing: readonly string[];
  /** Imports that nothing provides. */
  readonly undefined: readonly UndefinedSymbol[];
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
  /** Images have numbers that TypeScript chooses. */
  openImage(image: number, ...request: ImageRequest): void;
  /** The same on another thread, which also looks up the symbols for the commit. */
  openImageAsync(image: number, ...request: [...ImageRequest, slots: NativeSlots]): Promise<void>;
  isOpen(image: number): boolean;
  imageFacts(image: number): ImageFacts;
  symbol(image: number, name: string): bigint | undefined;
  /** 0 if it is not open. */
  callsInFlight(image: number): number;
  /** dlclose(3). Returns why the image is still mapped afterwards; empty if it is gone. */
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
  /**
   * Points every function at the image `next`, opened as `toOpen` says unless it is open already. Closes `previous` (0 for
   * none) before if `closePrevious`. If that fails, loads `previous` again as the image `restored`, as `toRestore` says.
   * Throws only while nothing has changed, or what JavaScript threw that the library called.
   */
  exchange(
    previous: number,
    closePrevious: boolean,
    next: number,
    toOpen: ImageRequest,
    restored: number,
    toRestore: ImageRequest | null,
  ): void;
  /** The image that the functions point at; 0 for none. Never throws. */
  running(): number;
  lastExchange(): ExchangeFacts;
  /** For ever every call throws `ERR_SOSWAP_CLOSED`. */
  close(): void;
  /** Nonblocking calls made from now on wait for `release()`. */
  hold(): void;
  release(): void;
  /** Resolves when the next nonblocking call has settled. */
  nextSettled(): Promise<void>;
}

/** What the last exchange did. */
export interface ExchangeFacts {
  /** Why the previous image is still mapped after it was closed; `null` if it was not closed. */
  readonly closed: readonly RetainReason[] | null;
  /** Optional symbols that the next image lacks. */
  readonly absent: readonly string[];
  /** Other symbols that it lacks. */
  readonly missing: readonly string[];
  /** Why the next image was not opened or does not run. */
  readonly failure: Error | null;
  /** The next image, if it had to be given up and is still mapped. */
  readonly leftOver: ImageFacts | null;
  /** The previous image was still there when it was loaded again. */
  readonly stateKept: boolean;
  /** Why the previous image was not loaded again. */
  readonly restoreFailure: Error | null;
}

/** A JavaScript function for one symbol and one signature. */
export type BoundFunction = (...args: unknown[]) => unknown;

export interface Addon {
  /** `soError` is the class that the addon makes errors of. */
  initialize(soError: new (...details: never[]) => Error): void;
  Library: new (path: string, options: SnapshotOptions) => NativeLibrary;
  Slots: new (path: string, library: NativeLibrary) => NativeSlots;
  loadedImages(): NativeLoadedImage[];
  isLoaded(loaderName: string): boolean;
  /** How many live images of soswap in this process have this loader name. */
  holdersOf(loaderName: string): number;
  /** The path that dlopen(3) finds for a bare name. */
  findLibrary(name: string): string;
  /** The descriptor of a file in memory, without a name. It is closed with the thread at the latest. */
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
