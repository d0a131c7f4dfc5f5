/** Loads the addon. Nothing outside of this folder touches it. */

import { fileURLToPath } from 'node:url';
import bindings from 'bindings';
import { SoError } from '../internal/errors.js';
import type { Addon } from './types.js';

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
