import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readArguments } from './arguments.js';

const usage = `usage: soswap build

Compiles soswap's own addon from the sources in the package, for the system and the Node.js that it is started
on. That is needed only where no binary of the package loads: with musl, or a glibc older than 2.28.
Needs g++, make and python3 (with others in $CXX, $CC and $PYTHON). npm brings node-gyp for the time of the build.

  -h, --help        prints this

exit codes: 1 something is missing, or the build failed; 2 wrong usage

example: soswap build
`;

/** 13 would need Node.js 22. */
const nodeGyp = 'node-gyp@^12.4.0';

export async function run(args: string[]): Promise<void> {
  if (readArguments(args, usage, [], {}) === undefined) return;
  const { CXX = 'g++', CC = 'cc', PYTHON = 'python3', CXXFLAGS = '' } = process.env;
  const missing = [CXX, CC, 'make', PYTHON, 'npm'].filter((command) => !isPresent(command));
  if (missing.length > 0) {
    const install = 'on Debian: apt-get install g++ make python3';
    throw new Error(`cannot build without ${missing.join(', ')}; ${install}`);
  }
  const root = dirname(fileURLToPath(import.meta.resolve('soswap/package.json')));
  const build = ['node', join(root, 'tools/node-gyp.js'), 'rebuild'];
  // What another compiler warns of is not the user's affair.
  process.env.CXXFLAGS = `${CXXFLAGS} -Wno-error`;
  await execute(root, 'npm', 'exec', '--yes', `--package=${nodeGyp}`, '--', ...build);
  await import('../index.js'); // it loads
  process.stdout.write(`built ${join(root, 'build/Release/soswap.node')}\n`);
}

/** Whether a command, which may carry flags of its own, is found on the PATH. */
function isPresent(command: string): boolean {
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

/** Runs a command whose output is for the user, as that of this process. */
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
