// node tools/build-fast.js DIRECTORY [HEADERS…]: compiles native/fast, the addon for calls from compiled code, into
// DIRECTORY/soswap-fast-ABI.node: for each release line of Node.js whose directory include/node is named, otherwise for the
// running one. $CXX is the compiler, $CXXFLAGS and $LDFLAGS are added. Compiles only what has changed.
// node tools/build-fast.js --flags: prints how the compiler reads native/fast for the running Node.js, a flag a line.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const { CXX = 'g++', CXXFLAGS = '', LDFLAGS = '' } = process.env;

/** Those beside this Node.js, or those that node-gyp has downloaded. */
function ownHeaders() {
  const { npm_config_nodedir: given, npm_config_devdir: devdir } = process.env;
  const downloads =
    devdir ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'node-gyp');
  const places = [
    ...(given ? [given] : []),
    dirname(dirname(process.execPath)),
    join(downloads, process.versions.node),
  ].map((place) => join(place, 'include/node'));
  const found = places.find(
    (place) => numberIn(place, 'NODE_MODULE_VERSION') === process.versions.modules,
  );
  if (found === undefined) throw new Error(`no headers of Node.js in ${places.join(', ')}`);
  return found;
}

function numberIn(headers, name) {
  try {
    const text = readFileSync(join(headers, 'node_version.h'), 'utf8');
    return new RegExp(`#define ${name} (\\d+)`).exec(text)?.[1];
  } catch {
    return undefined;
  }
}

const inFast = (name) => join(root, 'native/fast', name);
const inCore = (name) => join(root, 'native/core', name);
const sources = [
  inFast('fast_calls.cc'),
  ...['call/call_frame.S', 'base/old_libstdcxx.cc'].map(inCore),
];
const read = [
  ...readdirSync(inFast('')).map(inFast),
  ...sources,
  ...['call/call_frame.h', 'call/call_target.h', 'base/call_count.h'].map(inCore),
  fileURLToPath(import.meta.url),
];
const newest = Math.max(...read.map((file) => statSync(file).mtimeMs));
const words = (text) => text.split(' ').filter(Boolean);
const readFlags = (headers) => [
  ...words('-std=gnu++20 -DNODE_GYP_MODULE_NAME=soswap_fast -DBUILDING_NODE_EXTENSION'),
  ...['-isystem', headers, '-I', join(root, 'native')],
];

function build(directory, headers) {
  const abi = numberIn(headers, 'NODE_MODULE_VERSION');
  if (abi === undefined) throw new Error(`no headers of Node.js in ${headers}`);
  const addon = join(directory, `soswap-fast-${abi}.node`);
  if (existsSync(addon) && statSync(addon).mtimeMs > newest) return;
  mkdirSync(directory, { recursive: true });
  const [compiler, ...flags] = words(CXX);
  const unfinished = `${addon}.${process.pid}`;
  const args = [
    ...flags,
    ...readFlags(headers),
    ...words('-O2 -fPIC -shared -fvisibility=hidden -pthread -Wall -Wextra -Wshadow -Werror'),
    ...words(CXXFLAGS),
    ...sources,
    // Now, so that a function that Node.js does not export fails the load and not a call. Compiled code of V8 refers to
    // this one's for as long as the process lives.
    ...words('-s -Wl,-z,now,-z,nodelete,--no-undefined-version'),
    ...words(LDFLAGS),
    ...['-o', unfinished],
  ];
  const { status, error } = spawnSync(compiler, args, { stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0)
    throw new Error(`${compiler} did not compile native/fast for Node.js ABI ${abi}`);
  renameSync(unfinished, addon);
}

try {
  const [directory, ...headers] = process.argv.slice(2);
  if (directory === undefined)
    throw new Error('usage: node tools/build-fast.js --flags | DIRECTORY [HEADERS…]');
  if (directory === '--flags') console.log(readFlags(ownHeaders()).join('\n'));
  else for (const each of headers.length > 0 ? headers : [ownHeaders()]) build(directory, each);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
