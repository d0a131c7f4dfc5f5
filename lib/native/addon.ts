/** Loads the addon. Other modules reach it through `native`. */

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SoError } from '../internal/errors.js';
import { assertNoQuarantine, quarantinedAddon } from './quarantine-mark.js';
import type { Addon } from './types.js';

// With require(), because the import of a CommonJS module also searches its text for the names that it exports.
const require = createRequire(import.meta.url);

/** The directory of package.json. The build puts this file into another, so nothing counts the folders up to there. */
export const packageRoot = rootAbove(fileURLToPath(import.meta.url));

assertNoQuarantine(packageRoot);

/** Paths below the root of the package: a binary that was compiled here has precedence over that of the package. */
const addonPaths = [
  ['module_root', 'build', 'Release', 'bindings'],
  ['module_root', 'prebuilds', `${process.platform}-${process.arch}`, 'bindings'],
];

function rootAbove(file: string): string {
  const directory = dirname(file);
  return directory === file || existsSync(join(directory, 'package.json'))
    ? directory
    : rootAbove(directory);
}

function findAddon(): string {
  const bindings: typeof import('bindings') = require('bindings');
  const options = { bindings: 'soswap', module_root: packageRoot, try: addonPaths, path: true };
  return bindings(options);
}

function load(path: () => string): [addon: Addon, path: string] {
  let addon: Addon;
  let file: string;
  try {
    file = path();
    addon = require(file);
  } catch (cause) {
    throw new SoError('ERR_SOSWAP_ADDON', loadFailure(cause), packageRoot, undefined, { cause });
  }
  addon.initialize(SoError);
  return [addon, file];
}

/** Returns the message of the error that says why the addon did not load. */
function loadFailure(cause: unknown): string {
  const here = `${process.platform}-${process.arch}`;
  if (!['linux-x64', 'linux-arm64'].includes(here)) {
    return `soswap runs on linux-x64 and linux-arm64; this is ${here}`;
  }
  const reason = cause instanceof Error ? cause.message : String(cause);
  const { code } = cause as NodeJS.ErrnoException;
  if (code === 'ERR_DLOPEN_DISABLED' || code === 'ERR_ACCESS_DENIED') {
    return `Node.js may not load the addon (${reason}); ${permissionAdvice(code)}`;
  }
  const advice = 'npx soswap build compiles one from the sources in the package';
  // bindings() sets `tries` on the error if it found no file.
  if (cause instanceof Error && 'tries' in cause) {
    return `the package contains no binary of the addon for ${here}; ${advice}`;
  }
  return `the binary of the addon does not load on this system (${reason}); ${advice}`;
}

function permissionAdvice(code: string): string {
  if (code === 'ERR_ACCESS_DENIED') return 'start it with --allow-fs-read for this package';
  const { permission } = process as { permission?: unknown }; // only with the permission model
  return permission === undefined ? 'start it without --no-addons' : 'start it with --allow-addons';
}

/** The addon, and the path of its file. The addon belongs to this thread: each worker loads its own instance. */
export const [native, addonPath] = load(() => quarantinedAddon() ?? findAddon());
