import { dlopenFlags } from '../internal/dlopen-flags.js';
import { native } from '../native/addon.js';
import type { CopyEdit, NativeLibrary, SnapshotOptions } from '../native/types.js';
import type { UnloadPolicy } from './image-info.js';
import { type Mapping, snapshotMapping } from './mapping.js';
import { RetainedImages } from './retained-images.js';

/** The file that candidates are taken from, how they are copied and loaded, and the count of their retained images. */
export interface Source {
  readonly path: string;
  readonly library: NativeLibrary;
  /** The flags of dlopen(3). */
  readonly mode: number;
  readonly mapping: Mapping;
  /** What becomes of images when no swap says otherwise. */
  readonly unload: UnloadPolicy;
  /** What images take and give back is counted. */
  readonly account: boolean;
  readonly retained: RetainedImages;
  /** How many earlier generations a handle can go back to. */
  readonly history: number;
  /** Makes the source of a dependency that the library has to itself; absent if it shares all of them. */
  readonly sourceOfDependency?: ((path: string) => Source) | undefined;
}

/** A source of its own, for a look at a file without a handle. */
export function plainSource(path: string, copy: Partial<SnapshotOptions> = {}): Source {
  return {
    path,
    library: newLibrary(path, copy),
    mode: dlopenFlags.RTLD_NOW,
    mapping: snapshotMapping,
    unload: 'auto',
    account: false,
    retained: new RetainedImages(path),
    history: 0,
  };
}

/** Without these some libraries do not load from a copy. */
export const neededEdits: readonly CopyEdit[] = ['shorten-needed-from-origin'];

let isChecked = false;

/** Warns once for each thread if the loader of this process does not take bound imports. */
export function warnIfUnbound(): void {
  if (isChecked) return;
  isChecked = true;
  const why = native.unboundImports();
  if (why === '') return;
  process.emitWarning(`soswap cannot bind imports of private copies: ${why}`, {
    code: 'SOSWAP_UNBOUND_IMPORTS',
    detail:
      'Libraries may not find files beside themselves, and images that can start threads stay mapped.',
  });
}

/** Creates the addon's side of a source. */
export function newLibrary(path: string, copy: Partial<SnapshotOptions>): NativeLibrary {
  return new native.Library(path, {
    // For tests, and for systems that forbid executable memory files in a way that shows too late.
    storage: process.env.SOSWAP_SNAPSHOT === 'file' ? 'file' : 'memory',
    temporaryDirectory: process.env.TMPDIR ?? '',
    extent: 'loadable',
    allowWriter: false,
    account: false,
    ownFirst: false,
    allowNoexec: false,
    mapsCopy: true,
    edits: neededEdits,
    ...copy,
  });
}
