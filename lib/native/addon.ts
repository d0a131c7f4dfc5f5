/** Loads the addon. Other modules reach it through `native`. */

import { fileURLToPath } from 'node:url';
import bindings from 'bindings';
import { SoError } from '../internal/errors.js';
import type { Addon } from './types.js';

/** Paths below the root of the package: a binary that was compiled here has precedence over that of the package. */
const addonPaths = [
  ['module_root', 'build', 'Release', 'bindings'],
  ['module_root', 'prebuilds', `${process.platform}-${process.arch}`, 'bindings'],
];

function load(): Addon {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  let addon: Addon;
  try {
    addon = bindings({ bindings: 'soswap', module_root: root, try: addonPaths });
  } catch (cause) {
    throw new SoError('ERR_SOSWAP_ADDON', loadFailure(cause), root, undefined, { cause });
  }
  addon.initialize(SoError);
  return addon;
}

/** Returns the message of the error that says why the addon did not load. */
function loadFailure(cause: unknown): string {
  const here = `${process.platform}-${process.arch}`;
  if (!['linux-x64', 'linux-arm64'].includes(here)) {
    return `soswap runs on linux-x64 and linux-arm64; this is ${here}`;
  }
  const advice = 'npx soswap build compiles one from the sources in the package';
  // bindings() sets `tries` on the error if it found no file.
  if (cause instanceof Error && 'tries' in cause) {
    return `the package contains no binary of the addon for ${here}; ${advice}`;
  }
  const reason = cause instanceof Error ? cause.message : String(cause);
  return `the binary of the addon does not load on this system (${reason}); ${advice}`;
}

/** The addon. It belongs to this thread: each worker loads its own instance. */
export const native = load();
