import { cLibrary, stillLoaded } from '../internal/errors.js';
import { native } from '../native/addon.js';
import type { CopyEdit } from '../native/types.js';
import type { RetainReason } from './image-info.js';

/** What images are mapped from: the strategy behind the option `image`. */
export interface Mapping {
  /** As the addon calls it. */
  readonly name: 'snapshot' | 'file' | 'loaded';

  /** Those of the wanted edits of the private copy that images of this mapping can have. */
  edits(wanted: readonly CopyEdit[]): readonly CopyEdit[];

  /**
   * Refuses a swap that cannot take effect, while nothing has changed.
   *
   * @param loaderName Of the image that runs.
   * @param reasons Why that image stays loaded in any case.
   * @throws {SoError} `ERR_SOSWAP_STILL_LOADED`, `ERR_SOSWAP_C_LIBRARY`
   */
  assertReplaceable(path: string, loaderName: string, reasons: readonly RetainReason[]): void;
}

/** A private sealed copy, under a loader name of its own. */
export const snapshotMapping: Mapping = {
  name: 'snapshot',
  edits: (wanted) => wanted,
  assertReplaceable() {},
};

/** The file itself, as dlopen(3) maps it: the loader has one image for each path. */
export const fileMapping: Mapping = {
  name: 'file',
  edits: () => [],
  assertReplaceable(path, loaderName, reasons) {
    const others = native.holdersOf(loaderName) - 1;
    const detail = `${others} other handle(s) of this process have it open`;
    const all = others > 0 ? [...reasons, { code: 'opened-elsewhere', detail }] : reasons;
    if (all.length > 0) throw stillLoaded(path, all);
  },
};

/** Nothing is mapped: a part of the C library is taken as the process has it, whatever the option `image` says. */
export const loadedMapping: Mapping = {
  name: 'loaded',
  edits: () => [],
  assertReplaceable(path) {
    throw cLibrary(
      path,
      'swap',
      'this process uses it; restart the process to use what is installed now',
    );
  },
};
