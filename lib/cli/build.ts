import { spawn } from 'node:child_process';
import { accessSync, constants, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readArguments } from './arguments.js';

const usage = `usage: soswap build

Compiles the addons of soswap from the sources in the package, for this system and this Node.js. This is necessary only
where no binary of the package loads: with musl, or with a glibc older than 2.28; or where 'soswap inspect' says that
there are no fast calls for this Node.js. The build needs g++, cc, make and python3; $CXX, $CC and $PYTHON name other
commands. npm downloads node-gyp and node-addon-api for the build.

  -h, --help   this help

exit codes: 0 built; 1 a command is missing or the build failed; 2 wrong usage

example: soswap build
`;

export async function run(args: string[]): Promise<void> {
  if (readArguments(args, usage, [], {}) === undefined) return;
  const { CXX = 'g++', CC = 'cc', PYTHON = 'python3', CXXFLAGS = '' } = process.env;
  const missing = [CXX, CC, 'make', PYTHON, 'npm'].filter((command) => !isOnPath(command));
  if (missing.length > 0) {
    const install = 'on Debian: apt-get install g++ make python3';
    throw new Error(`cannot build without ${missing.join(', ')}; ${install}`);
  }
  const manifest = fileURLToPath(import.meta.resolve('soswap/package.json'));
  const root = dirname(manifest);
  const { devDependencies } = JSON.parse(readFileSync(manifest, 'utf8'));
  const packages = ['node-gyp', 'node-addon-api'].map(
    (name) => `--package=${name}@${devDependencies[name]}`,
  );
  const work = join(root, 'build/work');
  const build = ['node', join(root, 'tools/gyp.js'), '--in', work, 'rebuild'];
  // Another compiler may give other warnings, which must not fail the build of a user.
  process.env.CXXFLAGS = `${CXXFLAGS} -Wno-error`;
  const addon = join(root, 'build/Release/soswap.node');
  try {
    await execute(root, 'npm', 'exec', '--yes', ...packages, '--', ...build);
    mkdirSync(dirname(addon), { recursive: true });
    renameSync(join(work, 'build/Release/soswap.node'), addon);
    await execute(root, 'node', join(root, 'tools/build-fast.js'), dirname(addon));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  await import('../index.js'); // throws if the new addon does not load
  process.stdout.write(`built ${addon}\n`);
}

/** Checks whether $PATH leads to a command. The text may include flags: `ccache g++`. */
function isOnPath(command: string): boolean {
  const [name = ''] = command.split(' ');
  const directories = name.includes('/') ? [''] : (process.env.PATH ?? '').split(delimiter);
  return directories.some((directory) => {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Runs a command, which writes to the output of this process. */
function execute(cwd: string, command: string, ...args: string[]): Promise<void> {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { cwd, stdio: 'inherit' });
    child.on('error', fail);
    child.on('close', (code, signal) => {
      if (code === 0) done();
      else fail(new Error(`the build failed: ${signal ?? `exit code ${code}`}`));
    });
  });
}
