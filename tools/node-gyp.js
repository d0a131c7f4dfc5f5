// node-gyp, told to use the headers that came with this Node.js, if they did (release archives and
// container images have them), instead of downloading the same ones. So a build needs no network.
// It is the node-gyp of this checkout; in an installed package, which has none, the one on the PATH.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const prefix = dirname(dirname(process.execPath));

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

const useHeaders = !process.env.npm_config_nodedir && headersVersion() === process.versions.node;
const ours = fileURLToPath(new URL('../node_modules/.bin', import.meta.url));
const env = { ...process.env, PATH: `${ours}:${process.env.PATH}` };
const [command, ...rest] = process.argv.slice(2);
const args = [
  command,
  ...(useHeaders ? [`--nodedir=${prefix}`] : []),
  '--jobs=max',
  '--loglevel=warn',
  ...rest,
];
process.exitCode = spawnSync('node-gyp', args, { stdio: 'inherit', env }).status ?? 1;
