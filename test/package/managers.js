// node managers.js RUNTIMES TARBALL BUILDS: installs the package with each package manager, from its tarball and from a registry
// on loopback, first without and then from the lock file of the manager, and has a program swap there each time. No
// compiler, no make and no Python is in reach, and no other registry. A manager that mentions a script to run fails too.

import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { serve } from './registry.js';

const [runtimes, tarball, builds] = process.argv.slice(2);
const run = promisify(execFile);

const npm = (version) => ({
  command: [process.execPath, join(runtimes, `npm-${version}/bin/npm-cli.js`)],
  add: 'install',
  fromLock: ['ci', 'ci --omit=dev', 'install'],
});
const yarn = (version, settings, fromLock) => ({
  command: [process.execPath, join(runtimes, `yarn-${version}/bin/yarn.js`)],
  add: 'add',
  fromLock,
  settings,
});
const pnpm = (...command) => ({
  command,
  add: 'add',
  fromLock: ['install --frozen-lockfile', 'install --frozen-lockfile --prod'],
});

const managers = {
  'npm 10': npm(10),
  'npm 11': npm(11),
  'npm 12': npm(12),
  'yarn 1': yarn(1, '', ['install --frozen-lockfile', 'install --frozen-lockfile --production']),
  'yarn 4': yarn(4, 'nodeLinker: node-modules', ['install --immutable']),
  "yarn 4, Plug'n'Play": yarn(4, 'nodeLinker: pnp', ['install --immutable']),
  'pnpm 11': pnpm(process.execPath, join(runtimes, 'pnpm-11/bin/pnpm.mjs')),
  'pnpm 12': pnpm(join(runtimes, 'pnpm-12/pnpm')),
};

/** What an installation makes, apart from the lock file. */
const installed = ['node_modules', '.yarn', '.pnp.cjs', '.pnp.loader.mjs'];

const work = mkdtempSync(join(tmpdir(), 'soswap-managers-'));
process.on('exit', () => rmSync(work, { recursive: true }));

const path = join(work, 'bin');
mkdirSync(path);
symlinkSync(process.execPath, join(path, 'node'));
symlinkSync('/bin/sh', join(path, 'sh'));

const registry = await serve(tarball);

async function installAndSwap(name, from, specifier) {
  const { command, add, fromLock, settings = '' } = managers[name];
  const cwd = join(work, `${name} from ${from}`);
  cpSync(join(import.meta.dirname, 'programs'), cwd, { recursive: true });
  cpSync(tarball, join(cwd, 'soswap.tgz'));
  writeFileSync(join(cwd, 'package.json'), '{ "private": true, "license": "MIT" }');
  writeFileSync(join(cwd, '.npmrc'), `registry=${registry}/\n`);
  writeFileSync(join(cwd, '.yarnrc.yml'), `npmRegistryServer: ${registry}\n${settings}\n`);
  const env = {
    PATH: path,
    HOME: cwd,
    NODE_COMPILE_CACHE: join(work, 'compiled'),
    YARN_CACHE_FOLDER: join(cwd, '.cache'),
    YARN_UNSAFE_HTTP_WHITELIST: '127.0.0.1',
    YARN_ENABLE_TELEMETRY: '0',
  };
  const execute = async (program, ...args) => {
    const { stdout, stderr } = await run(program, args, { cwd, env });
    if (/gyp|script/i.test(stdout + stderr)) throw new Error(`${args}: ${stdout}${stderr}`);
  };
  const swap = () => {
    const loader = ['--require', './.pnp.cjs', '--experimental-loader', './.pnp.loader.mjs'];
    const options = settings.endsWith('pnp') ? loader : [];
    return execute(process.execPath, '--no-warnings', ...options, 'module.mjs', builds);
  };

  await execute(...command, add, `soswap@${specifier}`);
  await swap();
  for (const again of fromLock) {
    for (const made of installed) rmSync(join(cwd, made), { recursive: true, force: true });
    await execute(...command, ...again.split(' '));
    await swap();
  }
}

const jobs = Object.keys(managers).flatMap((name) => [
  [name, 'its tarball', 'file:./soswap.tgz'],
  [name, 'a registry', 'latest'],
]);
const worker = async () => {
  for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) await installAndSwap(...job);
};
await Promise.all(Array.from({ length: availableParallelism() }, worker));
console.log(`${Object.keys(managers).join(', ')}: installed and swapped`);
