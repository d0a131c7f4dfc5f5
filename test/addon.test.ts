import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { exitedCleanly, root, runNode, runProgram } from '../fixtures/child.js';

const here = `${process.platform}-${process.arch}`;

/** The package without a binary, then with these: real ones, or text. */
function packageWith(directory: string, binaries: Record<string, 'real' | string>): string {
  for (const part of ['dist', 'package.json']) {
    cpSync(join(root, part), join(directory, part), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'));
  for (const [name, content] of Object.entries(binaries)) {
    const file = join(directory, name);
    mkdirSync(dirname(file), { recursive: true });
    if (content === 'real') cpSync(join(root, 'build/Release/soswap.node'), file);
    else writeFileSync(file, content);
  }
  return directory;
}

/** What an import says; it runs elsewhere, because the current directory must not matter. */
async function importOf(directory: string) {
  const program = `
    const { code, message } = await import('${directory}/dist/index.js').catch((error) => error);
    process.send({ code, message });
  `;
  const ended = await runProgram(program, { cwd: '/' });
  t.match(ended, exitedCleanly);
  return ended.messages[0];
}

const loads = { code: undefined };

t.test('without a binary the import says what to do', async (t) => {
  const message = new RegExp(`${here}.*npx soswap build`);
  t.match(await importOf(packageWith(t.testdir(), {})), { code: 'ERR_SOSWAP_ADDON', message });
});

t.test('the error about a binary that the loader refuses has its words', async (t) => {
  const name = `prebuilds/${here}/soswap.node`;
  t.match(await importOf(packageWith(t.testdir(), { [name]: 'no ELF file' })), {
    code: 'ERR_SOSWAP_ADDON',
    message: /soswap\.node.*npx soswap build/,
  });
});

t.test('the binary in the package is found', async (t) => {
  const name = `prebuilds/${here}/soswap.node`;
  t.match(await importOf(packageWith(t.testdir(), { [name]: 'real' })), loads);
});

t.test('what was compiled here comes first', async (t) => {
  const binaries = {
    [`prebuilds/${here}/soswap.node`]: 'no ELF file',
    'build/Release/soswap.node': 'real',
  };
  t.match(await importOf(packageWith(t.testdir(), binaries)), loads);
});

t.test('a command fails in one line without a binary; build does not need one', async (t) => {
  const cwd = packageWith(t.testdir(), {});
  const soswap = (...args: string[]) => runNode(['dist/cli/main.js', ...args], { cwd });
  t.match(await soswap('inspect', 'libc.so.6'), {
    code: 1,
    signal: null,
    stdout: '',
    stderr: /^soswap: .*npx soswap build.*\n$/,
  });
  t.match(await soswap('build', '--help'), { ...exitedCleanly, stdout: /^usage: soswap build/ });
});

t.test('build names what is missing on this machine', async (t) => {
  const env = { CXX: 'g++ -m64', CC: '/absent/cc', PYTHON: process.execPath, PATH: t.testdir() };
  const child = spawnSync(process.execPath, ['dist/cli/main.js', 'build'], {
    cwd: root,
    env: { ...env, NODE_OPTIONS: '' },
    encoding: 'utf8',
  });
  t.match(child, {
    status: 1,
    signal: null,
    stdout: '',
    stderr: /^soswap: .*g\+\+ -m64, \/absent\/cc, make, npm.*apt-get.*\n$/,
  });
});
