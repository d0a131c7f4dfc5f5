import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('..', import.meta.url));
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

// tap's own loader reaches children through NODE_OPTIONS; a user's program has none.
const { NODE_OPTIONS: _, ...env } = process.env;
const node = (...args: string[]) => {
  const child = spawnSync(process.execPath, args, { cwd: root, env, encoding: 'utf8' });
  return { status: child.status, signal: child.signal, stdout: child.stdout.trim() };
};
const works = { status: 0, signal: null };

t.test('the package loads by import', async (t) => {
  const program = `
    import { SoHandle } from 'soswap';
    import * as dl from 'soswap/dl';
    console.log(typeof SoHandle.open, typeof dl.dlopen);
  `;
  t.match(node('--input-type=module', '-e', program), { ...works, stdout: 'function function' });
});

t.test('the package loads by require()', async (t) => {
  const program = `
    const { SoHandle } = require('soswap');
    const dl = require('soswap/dl');
    console.log(typeof SoHandle.open, typeof dl.dlopen);
  `;
  t.match(node('-e', program), { ...works, stdout: 'function function' });
});

t.test('the package tells its version', async (t) => {
  const program = `console.log(require('soswap/package.json').version)`;
  t.match(node('-e', program), { ...works, stdout: version });
});
