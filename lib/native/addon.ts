/** Loads the addon. Other modules reach it through `native`. */

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SoError } from '../internal/errors.js';
import { assertNoQuarantine, quarantinedAddon } from './quarantine-mark.js';
import type { Addon } from './types.js';

/** A bundler may have put this module into a CommonJS file, which has no `import.meta.url`. */
const here = import.meta.url ? fileURLToPath(import.meta.url) : __filename;

/** The directory of package.json. The build puts this file into another, so nothing counts the folders up to there. */
export const packageRoot = rootAbove(dirname(here)) ?? installedRoot();

// With require(), because the import of a CommonJS module also searches its text for the names that it exports.
const require = createRequire(join(packageRoot, 'package.json'));

assertNoQuarantine(packageRoot);

/** Returns the first directory from here up that contains what only this package does. */
function rootAbove(directory: string): string | undefined {
  if (existsSync(join(directory, 'dist/swap/quarantine/child.js'))) return directory;
  const above = dirname(directory);
  return above === directory ? undefined : rootAbove(above);
}

/** Finds the package that a bundle contains a copy of, where the bundle would import it from. */
function installedRoot(): string {
  try {
    return dirname(createRequire(here).resolve('soswap/package.json'));
  } catch (cause) {
    const message =
      `soswap does not find its files from '${here}': a bundler has put it there. Mark it external, and install it where ` +
      'the bundle runs: esbuild --external:soswap, ncc --external soswap, external: ["soswap"] for rollup, ' +
      'ssr: { external: ["soswap"] } for vite, externals: { soswap: "node-commonjs soswap" } for webpack';
    throw new SoError('ERR_SOSWAP_ADDON', message, here, undefined, { cause });
  }
}

/** Returns the path of the binary that was compiled here, otherwise that of the package, which may not exist. */
function findAddon(): string {
  const compiled = join(packageRoot, 'build/Release/soswap.node');
  const prebuilt = join(packageRoot, `prebuilds/${process.platform}-${process.arch}/soswap.node`);
  return existsSync(compiled) ? compiled : prebuilt;
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
  addon.initialize(SoError, Error, TypeError);
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
  if (code === 'MODULE_NOT_FOUND') {
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
