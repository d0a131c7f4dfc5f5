/** Loads the addon and gives it types. No other file touches it. */

import { fileURLToPath } from 'node:url';
import bindings from 'bindings';
import { SoError } from './errors.js';
import type { EncodedSignature } from './signature.js';

/** A sealed private copy of a library file, inspected; native/snapshot_wrap.h. */
export interface NativeSnapshot {
  readonly device: bigint;
  readonly inode: bigint;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  /** Somebody had the file open for writing, as far as the system tells. */
  readonly openForWriting: boolean;
  readonly buildId: string | null;
  readonly noDelete: boolean;
  /** Whether the object itself, not one of its dependencies, exports the symbol. */
  defines(symbol: string): boolean;
  sameBytesAs(other: NativeSnapshot): boolean;
  /** Gives the copy up; an image that was opened from it keeps its own. */
  release(): void;
}

/** One loaded copy of a library; native/image_wrap.h. */
export interface NativeImage {
  readonly base: bigint;
  readonly loaderName: string;
  symbol(name: string): bigint | undefined;
  /** dlclose(3). True if the image is gone afterwards. Closing again does nothing. */
  close(): boolean;
  readonly closed: boolean;
}

/** What the bound functions of one handle point at; native/slots_wrap.h. */
export interface NativeSlots {
  readonly inFlight: number;
  bind(symbol: string, signature: EncodedSignature, optional: boolean): BoundFunction;
  commit(image: NativeImage): { missing: string[]; absent: string[] };
  detach(): void;
  close(): void;
}

/** A JavaScript function for one symbol and one signature. */
export type BoundFunction = (...args: unknown[]) => unknown;

interface Addon {
  initialize(soError: typeof SoError): void;
  takeSnapshot(path: string, inPrivateFile: boolean): NativeSnapshot;
  takeSnapshotAsync(path: string, inPrivateFile: boolean): Promise<NativeSnapshot>;
  openImage(path: string, snapshot: NativeSnapshot, mode: number): NativeImage;
  openImageDirect(path: string, mode: number): NativeImage;
  isLoaded(loaderName: string): boolean;
  /** The path that dlopen(3) finds for a bare name. */
  findLibrary(name: string): string;
  Slots: new (path: string) => NativeSlots;
  dlopen(path: string | null, flags: number): bigint;
  dlsym(handle: bigint, symbol: string): bigint;
  dlclose(handle: bigint): number;
  functionAt(address: bigint, name: string, signature: EncodedSignature): BoundFunction;
}

function load(): Addon {
  if (process.platform !== 'linux') {
    throw new Error(
      `soswap runs on Linux (glibc or musl), x64 and arm64; this is ${process.platform}`,
    );
  }
  const root = fileURLToPath(new URL('..', import.meta.url));
  const addon: Addon = bindings({ bindings: 'soswap', module_root: root });
  addon.initialize(SoError);
  return addon;
}

export const native = load();
