// node-gyp, told to use the headers that came with this Node.js, if they did (release archives and
// container images have them), instead of downloading the same ones. So a build needs no network.
// It is the node-gyp of this checkout; in an installed package, which has none, the one on the PATH, as `npm exec` puts it
// there. node-addon-api lies beside it.
//
// node tools/gyp.js [--in DIRECTORY] COMMAND…: with --in, it builds the addon in that directory, which gets links to the
// sources. The published package has binding.gyp below native/, because package managers compile what has one at its root.
//
// The name of this file is not that of node-gyp: Yarn downloads node-gyp for a package with a script that mentions it.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const prefix = dirname(dirname(process.execPath));
const root = fileURLToPath(new URL('..', import.meta.url));

/** The version that the headers beside this Node.js are of; undefined if there are none. */
const headersVersion = () => {
  try {
    const header = readFileSync(join(prefix, 'include/node/node_version.h'), 'utf8');
    const part = (name) => new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(header)?.[1];
    return ['MAJOR', 'MINOR', 'PATCH'].map(part).join('.');
  } catch {
    return undefined;
  }
};

/** Makes a directory with links to what the addon is built from. */
function linkSources(directory) {
  mkdirSync(directory, { recursive: true });
  const description = ['binding.gyp', 'native/binding.gyp'].find((name) =>
    existsSync(join(root, name)),
  );
  for (const source of [description, 'native', 'package.json']) {
    const link = join(directory, source.replace('native/', ''));
    rmSync(link, { force: true });
    symlinkSync(relative(directory, join(root, source)), link);
  }
}

const useHeaders = !process.env.npm_config_nodedir && headersVersion() === process.versions.node;
const path = [join(root, 'node_modules/.bin'), ...process.env.PATH.split(':')];
const packages = path.filter((each) => each.endsWith('/node_modules/.bin')).map(dirname);
const env = { ...process.env, PATH: path.join(':'), NODE_PATH: packages.join(':') };
delete env.NODE_OPTIONS; // Yarn Plug'n'Play would find neither
const [option, ...others] = process.argv.slice(2);
const [cwd, ...commands] = option === '--in' ? others : ['.', option, ...others];
if (option === '--in') linkSources(cwd);
const [command, ...rest] = commands;
const args = [
  command,
  ...(useHeaders ? [`--nodedir=${prefix}`] : []),
  '--jobs=max',
  '--loglevel=warn',
  ...rest,
];
process.exitCode = spawnSync('node-gyp', args, { stdio: 'inherit', env, cwd }).status ?? 1;
