/**
 * The interface of the addon, which native/binding/ implements.
 *
 * @module
 */

import type { ImageInfo, LeftBehind, RetainReason } from '../image/image-info.js';

/** A symbol that a library defines for others. */
export interface SoExport {
  /** The name for dlsym(3): of a C++ symbol the mangled name. */
  readonly name: string;
  /** STT_FUNC, STT_GNU_IFUNC, STT_OBJECT, STT_TLS or STT_NOTYPE, elf(5). */
  readonly type: 'function' | 'indirect-function' | 'object' | 'thread-local' | 'none';
  /** STB_GLOBAL, STB_WEAK or STB_GNU_UNIQUE, elf(5). */
  readonly binding: 'global' | 'weak' | 'unique';
  /** The version of the symbol; empty if it has none. */
  readonly version: string;
  /** The size of the function or the data in bytes; 0 if the file does not contain it. */
  readonly size: number;
}

/** A symbol that a library needs from others. */
export interface SoImport {
  /** The name under which another library exports the symbol. */
  readonly name: string;
  /** The version that the symbol must have; empty if any version is accepted. */
  readonly version: string;
  /** Whether the symbol may be absent. */
  readonly weak: boolean;
}

/** A direct or indirect dependency of a library. */
export interface SoDependency {
  /** The name in DT_NEEDED. */
  readonly name: string;
  /** The path of the file that needs the dependency. */
  readonly neededBy: string;
  /** The path that the loader would use; `null` if the loader finds none. */
  readonly path: string | null;
  /** Whether the dependency is already loaded in this process. */
  readonly loaded?: boolean;
  /** Present if soswap keeps the dependency loaded, because an image is gone that it may have started threads for. */
  readonly kept?: boolean;
  /** The directories that were searched, if the loader finds none. */
  readonly lookedIn?: readonly string[];
  /** The defect of the file that was found. */
  readonly defect?: string;
}

/**
 * The names that both the main program and a library export, so that dlopen(3) takes the definition of the program for
 * both. Excludes names that a library exports too which the process began with, such as `stdout` of libc, and the weak
 * names of C++ templates and inline functions.
 */
export interface ProgramNames {
  /** The names that the library exports. */
  readonly exports: readonly string[];
  /** The names that the library imports and that a dependency exports. */
  readonly imports: readonly string[];
  /** The paths of the dependencies that import or export such names; without those that are already loaded. */
  readonly dependencies: readonly string[];
  /**
   * The reason why the definitions of the program come first in `imports` and `dependencies` even with
   * {@link OpenOptions.symbolic}; `null` if those of the dependencies do.
   */
  readonly obstacle: string | null;
}

/** A signature with types as numbers of the enum Type in native/core/call/signature.h. */
export interface EncodedSignature {
  readonly returnType: number;
  readonly argumentTypes: readonly number[];
  readonly nonblocking: boolean;
  /** The call returns `{ value, errno }`. */
  readonly errno: boolean;
}

/** A change of a snapshot before it is loaded; native/core/elf/edit.h. */
export type CopyEdit =
  /** Makes STB_GNU_UNIQUE symbols STB_GLOBAL. */
  | 'demote-unique-symbols'
  /** Clears DF_1_NODELETE, except in a Go library. */
  | 'clear-nodelete'
  /** Sets DF_SYMBOLIC: the image binds to its own symbols before those of the program and of older global images. */
  | 'bind-symbolically'
  /**
   * Shortens DT_NEEDED entries that begin with $ORIGIN to the bare name, under which the addon loads the dependency.
   */
  | 'shorten-needed-from-origin'
  /** Removes DT_SONAME, so that no other library is bound to the image by that name. */
  | 'hide-soname'
  /**
   * Binds imports to functions of the addon, so that code of an image finds the library's file; only for an image of
   * this process. native/core/bind/loader_functions.h lists them.
   */
  | 'bind-imports';

/** The way in which a snapshot is taken; native/core/copy/copy_plan.h. */
export interface SnapshotOptions {
  /** A file in memory, or a file without a name in `$TMPDIR`. */
  readonly storage: 'memory' | 'file';
  /** `loadable` omits what no loader maps: symbols and debug information for linkers and debuggers. */
  readonly extent: 'loadable' | 'whole';
  /** Accept a file that is open for writing. */
  readonly allowWriter: boolean;
  /** `$TMPDIR`, which the other threads must not read themselves; empty for none. */
  readonly temporaryDirectory: string;
  /** Puts the symbols of dependencies before those of the program, where both export a name; native/core/bind/own_first.h. */
  readonly ownFirst: boolean;
  /** Load a file although its file system is mounted noexec. */
  readonly allowNoexec: boolean;
  /** The loader maps the copy, not the file. */
  readonly mapsCopy: boolean;
  /** Counts what images take and give back; native/core/tracking/account.h. */
  readonly account: boolean;
  /** The changes, in order. */
  readonly edits: readonly CopyEdit[];
}

/** A snapshot, and the file that it was taken from. */
export interface SnapshotFacts {
  readonly id: number;
  readonly device: bigint;
  readonly inode: bigint;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly buildId: string | null;
  /** The descriptor of the snapshot, whose file may be longer than `size`. */
  readonly descriptor: number;
  /** Whether an image of the snapshot must be loaded with RTLD_DEEPBIND, for which the snapshot is prepared. */
  readonly ownFirst: boolean;
  /** Whether the loader certainly keeps an image of the snapshot mapped. */
  readonly staysMapped: boolean;
  /** The reasons why unmapping an image of the snapshot could crash the process; empty if there are none. */
  readonly unmapHazards: readonly RetainReason[];
  /**
   * `own`: a part of the C library that the process runs. `foreign`: the core of another C library.
   * native/core/resolve/c_library.h
   */
  readonly cLibrary: 'own' | 'foreign' | null;
  /** The result of the resolution; `null` if it was not requested or found nothing to report. */
  readonly resolution: Resolution | null;
}

/**
 * An image of another library that is to be a dependency of this one, whatever the loader has by that name;
 * native/core/loader/provided_objects.h. A library that does not need `name` ignores it.
 */
export type Provision = readonly [
  /** The dependency as DT_NEEDED has it. */
  name: string,
  /** The library of the image, and the snapshot that the image is opened from; it need not be open yet. */
  library: NativeLibrary,
  snapshot: number,
];

/** The names by which the loader links a library. */
export interface SnapshotLinks {
  /** DT_SONAME. */
  readonly soname: string | null;
  /** DT_NEEDED of the file, in order. */
  readonly needed: readonly string[];
  /** The needed names that other images provide, in the order of DT_NEEDED, each once. */
  readonly provided: readonly string[];
  /** The names that these have in the copy. Another process that adopts the copy provides them by these. */
  readonly providedAs: readonly string[];
}

/** The files that a library needs and that its own search path finds, or the one of what needs it. */
export interface NeededFiles {
  /** For each name in DT_NEEDED of the file, in order; empty where these directories do not have it. */
  readonly paths: readonly string[];
  /** The directories that its dependencies inherit by DT_RPATH. */
  readonly inherited: readonly string[];
}

/** The requirements of a resolution. */
export type Needs = [
  /** The library must have their symbols that are not optional. */
  slots: NativeSlots,
  /** Whether all imports of the library must be defined. */
  bindNow: boolean,
  /** The loader names of the images that are closed before the library is loaded, the first one first. */
  closingImages: readonly string[],
  /** Whether all is closed that only these images need, also dependencies that are kept otherwise. */
  closesAll: boolean,
];

/** The arguments that load an image. */
export type ImageRequest = [
  snapshot: number,
  mapping: 'snapshot' | 'file' | 'loaded',
  /** The flags of dlopen(3). */
  mode: number,
  generation: number,
  /** Whether the addon may unmap an image that nobody closed: its handle was collected, or its thread ended. */
  mayUnmap: boolean,
  /**
   * The loader names of the open images that provide dependencies, one for each of {@link SnapshotLinks.provided}. In an
   * exchange, an empty name is that of the image which another part opens from the providing snapshot.
   */
  providers: readonly string[],
];

/** The properties of a loaded image. */
export interface ImageFacts {
  readonly base: bigint;
  readonly loaderName: string;
  /** `snapshot`, or the path of the mapped file. */
  readonly mappedFrom: string;
  /** The bytes that the private copy holds; 0 without one. */
  readonly copySize: number;
  /** The kept variables whose values it took over; absent if the library has no hooks and keeps nothing. */
  readonly kept?: readonly string[];
  /** Those of the image before that it has not, or not alike. */
  readonly reset?: readonly string[];
}

declare const handed: unique symbol;

/** What an image leaves for the next one, in memory of the addon; native/core/life/handed_over.h. */
export interface HandedOver {
  readonly [handed]: never;
}

/** An import that no library defines. */
export interface UndefinedSymbol {
  readonly name: string;
  readonly version: string;
  readonly neededBy: string;
}

/** An image of another handle that a library would be bound to, although it is not what that handle should run now. */
export interface StaleImage {
  /** The path of that handle. */
  readonly path: string;
  readonly generation: number;
  /** Whether that handle runs another image, or is closed; otherwise its file was replaced, and it was not swapped. */
  readonly givenUp: boolean;
  /** The objects that need the image, images by the paths of their libraries. */
  readonly neededBy: readonly string[];
}

/** The problems that loading a snapshot would have. */
export interface Resolution {
  /** The symbols of the definitions that neither the library nor a dependency has. */
  readonly missing: readonly string[];
  /** The imports that no library defines. */
  readonly undefined: readonly UndefinedSymbol[];
  /** The loaded dependencies whose files were replaced after they were loaded. */
  readonly replaced: readonly string[];
  /** The dependencies that are images of other handles, and stale. */
  readonly stale: readonly StaleImage[];
}

/** What may be meant by a name that a library does not export. */
export interface NameHints {
  /** The mangled names of the C++ functions of that name that the library exports. */
  readonly mangled: readonly string[];
  /** See {@link SoInfo.addonSymbol}. */
  readonly addonSymbol: string | null;
}

/** The properties of a file, which native/binding/inspect_wrap.cc reads and lib/facts/inspect.ts documents. */
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
  /** Whether soswap tracks threads or destructors of an image. */
  readonly tracked: boolean;
  /** The reasons, apart from what is tracked, why unmapping an image could crash the process. */
  readonly untrackedHazards: readonly RetainReason[];
  readonly untrackedDestructors: boolean;
  readonly uniqueSymbols: readonly string[];
  readonly exports: readonly SoExport[];
  readonly imports: readonly SoImport[];
  readonly dependencies: readonly SoDependency[];
  /** What dlclose(3) unmaps too, unless something else needs it. */
  readonly dependencyHazards: readonly RetainReason[];
  /** Those of which soswap cannot see when they have ended. */
  readonly unseenDependencyHazards: readonly RetainReason[];
  /** The dependencies that stay, and bind symbols to the first image. */
  readonly bindingDependencies: readonly RetainReason[];
  readonly programNames: ProgramNames;
  readonly addonSymbol: string | null;
  /** The error that loading the library has; `null` if all dependencies are found. */
  readonly missingDependency: Error | null;
  /** The other problems that loading the library would have. */
  readonly resolution: Resolution | null;
}

/** The snapshots and images of one library, which have numbers; native/binding/library_wrap.h. */
export interface NativeLibrary {
  takeSnapshot(file: string, provided: readonly Provision[], ...needs: Needs | []): SnapshotFacts;
  takeSnapshotAsync(
    file: string,
    provided: readonly Provision[],
    ...needs: Needs | []
  ): Promise<SnapshotFacts>;
  /** Returns the names in a snapshot by which the loader links it. */
  links(snapshot: number): SnapshotLinks;
  neededFiles(snapshot: number, inherited: readonly string[]): NeededFiles;
  /** Returns the properties of the file, without loading it. */
  inspect(snapshot: number): NativeInspection;
  nameHints(snapshot: number, name: string): NameHints;
  /** Checks whether the file of the library has the same bytes as the snapshot. */
  stillInFile(snapshot: number): boolean;
  stillInFileAsync(snapshot: number): Promise<boolean>;
  /** Releases a snapshot. An open image keeps the memory. */
  releaseSnapshot(snapshot: number): void;
  /** Opens an image. The caller chooses its number. */
  openImage(image: number, ...request: ImageRequest): void;
  /** Opens an image on another thread, which also looks up the symbols for the commit. */
  openImageAsync(image: number, ...request: [...ImageRequest, slots: NativeSlots]): Promise<void>;
  isOpen(image: number): boolean;
  imageFacts(image: number): ImageFacts;
  /** Returns why code of the image may still run, apart from what is due at the end of this thread. */
  inUse(image: number): RetainReason[];
  /**
   * Checks whether an image is bound to one that its handle has given up and replaced, or, with `closes`, whether a
   * dependency that would go with the image has another file now. Takes one stat(2) for each dependency.
   */
  hasStaleDependency(image: number, closes: boolean, closesAll: boolean): boolean;
  /** Returns the paths of the dependencies of an image, without those of the program. */
  dependencyPaths(image: number): string[];
  /** Returns those of them that stay loaded when the image is closed. */
  stayingDependencies(image: number, closesAll: boolean): string[];
  symbol(image: number, name: string): bigint | undefined;
  /** Returns 0 for an image that is not open. */
  callsInFlight(image: number): number;
  /**
   * Calls dlclose(3), unless code of the image may still run and `force` is not set: then the image waits for `sweep()`.
   * Returns the reasons why the image is still mapped; empty if it is unmapped.
   */
  closeImage(image: number, force: boolean): RetainReason[];
  /** Closes an image and releases its snapshot on another thread. */
  closeImageAsync(
    image: number,
    snapshots: readonly number[],
    force: boolean,
  ): Promise<RetainReason[]>;
  /**
   * Calls the hook soswap_save of an image, and copies the values that it keeps; `undefined` if it has no hooks and keeps
   * nothing.
   */
  save(image: number): HandedOver | undefined;
  /** Sets the kept values and calls the hook soswap_load, unless that was done. An exchange does it with each image too. */
  load(image: number, handed?: HandedOver): void;
  /** Calls the hook soswap_unload, if the image was loaded. To close the image calls it too. */
  unload(image: number): void;
  /** Sets `historySize` of the image in the list of images. */
  showHistory(image: number, bytes: number): void;
  /** Makes `loadedImages()` show an image that is still open as retained, for these reasons. */
  markRetained(image: number, reasons: readonly RetainReason[]): void;
  /** Retains an image for these reasons. */
  keepImage(image: number, reasons: readonly RetainReason[]): void;
}

/** An entry in the list of all images of the process; native/core/image/loaded_images.h. */
export interface NativeLoadedImage extends Omit<ImageInfo, 'toJSON'> {
  readonly path: string;
  readonly memorySize: number;
  readonly writtenSize: number;
  readonly historySize: number;
  readonly hooks: readonly string[];
  readonly keeps: readonly string[];
  readonly thread: number;
  readonly callsInFlight: number;
  readonly neededBy: readonly string[];
  readonly retained: readonly RetainReason[];
}

/** Whether an exchange closes the previous image before it opens the next one: `if-unused`: unless code of it may still run. */
export type Closing = 'none' | 'if-unused' | 'in-any-case';

/** An Int32Array over one number in memory of the addon. */
export interface NativeNumber {
  0: number;
}

/** The bound functions of one handle, and the image that they run; native/binding/call/slots_wrap.h. */
export interface NativeSlots {
  bind(symbol: string, signature: EncodedSignature, optional: boolean): BoundFunction;
  /** Returns the address of what the function reads that `bind()` made last: a CallTarget. The function keeps it alive. */
  boundTarget(): number;
  /** Returns the image that the functions run; 0 for none. Never throws. */
  running(): number;
  /** `null`: the next image runs and has all symbols, and the previous one is gone if it was closed. */
  lastExchange(): ExchangeFacts | null;
  /**
   * Calls `observer` after each call of a bound function, until {@link endSupervision}, the next exchange or {@link close}.
   * `error` or `result` is `undefined`. The observer must not throw.
   */
  supervise(observer: (symbol: string, error: unknown, result: unknown) => void): void;
  endSupervision(): void;
  /** Says what the first image begins with. */
  give(handed: HandedOver): void;
  /** Makes every later call throw `ERR_SOSWAP_CLOSED`. */
  close(): void;
  /** Makes new nonblocking calls wait for `release()`. */
  hold(): void;
  release(): void;
  /** Resolves when the next nonblocking call has settled. */
  nextSettled(): Promise<void>;
  /** Resolves what {@link nextSettled} returned: a call that was counted in {@link calls} has settled. */
  settled(): void;
  /** Adds a slot without a function, for code that calls the symbol by its address. Returns its number. */
  refer(symbol: string, optional: boolean): number;
  /** Returns the address that a slot has now. */
  addressOf(slot: number): bigint | undefined;
  /** Throws the reason why a slot has no address. */
  refuse(slot: number): void;
  /**
   * Returns the number of changes of what the slots point at, in memory of the addon, so that looking costs next to nothing:
   * an address is good as long as it is equal.
   */
  changes(): NativeNumber;
  /**
   * Returns the number of the calls in flight in the image that runs, in memory of the addon. A caller that counts its own
   * call in it keeps the image open.
   */
  calls(): NativeNumber | undefined;
}

/** The arguments of one handle in an exchange. */
export type ExchangeRequest = [
  slots: NativeSlots,
  /** The image that runs; 0 for none. */
  previous: number,
  closing: Closing,
  next: number,
  /** How `next` is opened, unless it is open. */
  ...toOpen: ImageRequest,
];

/** The result of the last exchange. */
export interface ExchangeFacts {
  /** The reasons why the previous image is still mapped after it was closed; `null` if it was not closed. */
  readonly closed: readonly RetainReason[] | null;
  /** The optional symbols that the next image lacks. */
  readonly absent: readonly string[];
  /** The other symbols that the next image lacks. */
  readonly missing: readonly string[];
  /** The error because of which the next image does not run. */
  readonly failure: Error | null;
  /** The next image, if it was given up and is still mapped. */
  readonly leftOver: ImageFacts | null;
  /** Whether the previous image was closed and runs again. */
  readonly restored: boolean;
  /** Whether the previous image was still mapped when it was loaded again. */
  readonly stateKept: boolean;
  /** The error because of which the previous image was not loaded again. */
  readonly restoreFailure: Error | null;
}

/** A JavaScript function that calls one symbol with one signature. */
export type BoundFunction = (...args: unknown[]) => unknown;

/** The exports of the addon. */
export interface Addon {
  /** Sets the classes of the errors that the addon throws. */
  initialize(
    soError: new (...details: never[]) => Error,
    error: ErrorConstructor,
    typeError: TypeErrorConstructor,
  ): void;
  Library: new (path: string, options: SnapshotOptions) => NativeLibrary;
  Slots: new (path: string, library: NativeLibrary) => NativeSlots;
  /**
   * Makes the functions of each part run the image `next`; the arguments of the parts follow each other. Closes the previous images where `closing` says so, the last
   * part first, then opens the next ones, the first part first. If any of that fails, opens the previous images again,
   * under the same numbers. Throws only before anything has changed, or the error of JavaScript that a constructor or a
   * destructor of a library called. Returns the facts of the next images if all run and have all symbols, and all
   * previous images are gone that were closed; otherwise `null`.
   */
  exchange(...parts: ExchangeRequest[number][]): ImageFacts[] | null;
  /** Makes what {@link NativeSlots.give} takes. */
  handedState(state: Uint8Array, version: number): HandedOver;
  stateOf(handed: HandedOver): [state: Buffer, version: number] | null;
  /** Takes the lines that hooks wrote on this thread; `null` if there are none. */
  takeHookLines(): [path: string, generation: number, text: string][] | null;
  /** Returns what an image has not given back; `null` if it is not counted. Forgets it if the image is gone. */
  leftBehind(loaderName: string): LeftBehind | null;
  loadedImages(): NativeLoadedImage[];
  isLoaded(loaderName: string): boolean;
  /** Returns which objects are loaded. */
  areLoaded(loaderNames: readonly string[]): boolean[];
  /** Returns how many objects the loader has unmapped so far. */
  unmappedObjects(): number;
  /** Returns the bytes that each image holds now; -1 for an image that is not loaded; nothing if memory is short. */
  heldBytes(loaderNames: readonly string[]): number[];
  /** Returns the names of the loaded objects that depend on this one, of images the paths of their libraries. */
  neededBy(loaderName: string): string[];
  /** Returns the number of the retained images of the process, and the bytes that they hold. */
  retainedImages(): [images: number, bytes: number];
  /** Whether there is no room for one more. */
  isAtRetainedLimit(): boolean;
  /** Returns the number of those that were opened from this path. */
  retainedImagesOf(path: string): number;
  /** Sets the limit of the retained images of the process, if there is one; returns it. */
  retainedLimit(...limit: [images: number, bytes: number] | []): [images: number, bytes: number];
  /**
   * Closes the images that wait, of this thread and of threads that have ended, and of which no code can run any more.
   * Returns how many wait still.
   */
  sweep(): number;
  /** Calls `callback` soon after no code of a waiting image can run any more. Keeps no process alive. */
  onUnused(callback: () => void): void;
  /** Has a thread of the pool run the destructors that waiting images have due there. */
  visitPool(): void;
  /** Returns why this process binds no imports of private copies; empty if it does, or if its C library never can. */
  unboundImports(): string;
  /** Returns where the stack of this thread ends now. It grows downwards. */
  stackAddress(): number;
  /** Returns the number of live images in this process that have this loader name. */
  holdersOf(loaderName: string): number;
  /** Returns the path that dlopen(3) finds for a bare name. */
  findLibrary(name: string): string;
  /**
   * Creates a file in memory and returns its descriptor, which the addon closes at the end of the thread at the latest.
   * With a size it has so many bytes, all 0, and cannot get longer.
   */
  openMemoryFile(size?: number): number;
  /** Opens the file of a descriptor for reading alone, with an offset of its own. Close it as a memory file. */
  reopenReadOnly(descriptor: number): number;
  closeMemoryFile(descriptor: number): void;
  /** Returns the user at the other end of a Unix socket, as SO_PEERCRED of unix(7) tells it; -1 if it tells none. */
  peerUser(descriptor: number): number;
  /** Sends a datagram to the socket of sd_notify(3). Returns errno; 0: it was sent. */
  notify(socket: string, text: string): number;
  /** Returns the number of this thread, gettid(2). */
  threadId(): number;
  /** Makes the kernel end this process after `seconds`, or when the thread that started it ends. */
  dieWithParent(parent: number, thread: number, seconds: number): void;
  /** Ends this child process, and all of its process group, with this thread. */
  endWithThread(child: number): void;
  /** Takes {@link endWithThread} back: the child process has ended, and may have left its number to another. */
  hasEnded(child: number): void;
  /** Ends all child processes of {@link endWithThread} now, and leaves no zombie. */
  endChildren(): void;
  /** Makes a crash of this process write no core(5) file. */
  leaveNoCore(): void;
  /** Gives a name to a file that was opened with O_TMPFILE. */
  linkDescriptor(descriptor: number, path: string): void;
  /** Takes an exclusive lock with flock(2), without waiting. `impossible`: the file system does not support locks. */
  lockDescriptor(descriptor: number): 'locked' | 'by-another' | 'impossible';
  dlopen(path: string | null, flags: number): bigint;
  dlsym(handle: bigint, symbol: string): bigint;
  dlclose(handle: bigint): number;
  functionAt(address: bigint, name: string, signature: EncodedSignature): BoundFunction;
}
