/** Loads the addon. Nothing outside of this folder touches it. */

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { SoError } from '../internal/errors.js';
import type { Addon } from './types.js';

// With require(), because the import of a CommonJS module also searches its text for the names that it exports.
const bindings: typeof import('bindings') = createRequire(import.meta.url)('bindings');

/** The directory of package.json. The build puts this file into another, so nothing counts the folders up to there. */
export const packageRoot = bindings.getRoot(fileURLToPath(import.meta.url));

/** From the top of the package: what was compiled here comes before what the package brought. */
const places = [
  ['module_root', 'build', 'Release', 'bindings'],
  ['module_root', 'prebuilds', `${process.platform}-${process.arch}`, 'bindings'],
];

function load(): Addon {
  let addon: Addon;
  try {
    addon = bindings({ bindings: 'soswap', module_root: packageRoot, try: places });
  } catch (cause) {
    throw new SoError('ERR_SOSWAP_ADDON', whyNoAddon(cause), packageRoot, undefined, { cause });
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
