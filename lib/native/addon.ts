/** Loads the addon. Other modules reach it through `native`. */

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { SoError } from '../internal/errors.js';
import type { Addon } from './types.js';

// With require(), because the import of a CommonJS module also searches its text for the names that it exports.
const bindings: typeof import('bindings') = createRequire(import.meta.url)('bindings');

/** The directory of package.json. The build puts this file into another, so nothing counts the folders up to there. */
export const packageRoot = bindings.getRoot(fileURLToPath(import.meta.url));

/** Paths below the root of the package: a binary that was compiled here has precedence over that of the package. */
const addonPaths = [
  ['module_root', 'build', 'Release', 'bindings'],
  ['module_root', 'prebuilds', `${process.platform}-${process.arch}`, 'bindings'],
];

function load(): Addon {
  let addon: Addon;
  try {
    addon = bindings({ bindings: 'soswap', module_root: packageRoot, try: addonPaths });
  } catch (cause) {
    throw new SoError('ERR_SOSWAP_ADDON', loadFailure(cause), packageRoot, undefined, { cause });
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
