// Runs the test of docs/recipes/testing.md with vitest, in each of its pools, and with jest, in each of the ways of its table.
// Installs both from npm into build/test-runners. Needs `npm run build` before, and Node.js 24.9 or later for require().

import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');
const place = join(root, 'build/test-runners');
const page = readFileSync(join(root, 'docs/recipes/testing.md'), 'utf8');
const [, test] = /```js\n(.*?)```/s.exec(page);

function run(what, command, args, env = {}) {
  const options = { cwd: place, encoding: 'utf8', env: { ...process.env, ...env } };
  const { status, stdout, stderr } = spawnSync(command, args, options);
  console.log(`${status === 0 ? 'ok' : 'FAILED'}  ${what}`);
  if (status === 0) return;
  console.error(stdout, stderr);
  process.exitCode = 1;
}

rmSync(place, { recursive: true, force: true });
mkdirSync(join(place, 'node_modules'), { recursive: true });
writeFileSync(join(place, 'package.json'), '{ "private": true, "type": "module" }');
run('npm install', 'npm', ['install', '--prefer-offline', 'vitest', 'jest']);
symlinkSync(root, join(place, 'node_modules/soswap'));
for (const [name, line] of [
  ['one', 1111],
  ['two', 2222],
]) {
  const source = join(root, 'fixtures/action.c');
  run(name, join(root, 'fixtures/compile'), [source, `${name}.so`, `-DLINE=${line}`]);
}

const forJest = test.replace(/^import .* from 'vitest';\n/m, '');
/** As `import` statements become calls, of `require` or of `await import`. */
const imports = (callee) => (text) =>
  text.replace(/^ *import (\{.*\}) from ('.*');$/gm, `const $1 = ${callee}($2);`);
const inside = forJest
  .replace(/^import .*\n/gm, '')
  .replace(
    /async \(\) => \{\n/,
    (begin) => `${begin}${forJest.match(/^import .*$/gm).join('\n')}\n`,
  );
writeFileSync(join(place, 'price.test.js'), test);
writeFileSync(join(place, 'module.jest.mjs'), forJest);
writeFileSync(join(place, 'required.jest.cjs'), imports('require')(forJest));
writeFileSync(join(place, 'imported.jest.cjs'), imports('await import')(inside));

for (const pool of ['threads', 'forks', 'vmThreads', 'vmForks']) {
  run(`vitest, ${pool}`, 'npx', ['vitest', 'run', '--pool', pool, 'price.test.js']);
}
for (const file of ['module.jest.mjs', 'required.jest.cjs', 'imported.jest.cjs']) {
  const options = ['--moduleFileExtensions', 'js', 'mjs', 'cjs', '--transform', '{}'];
  const env = { NODE_OPTIONS: '--experimental-vm-modules' };
  run(`jest, ${file}`, 'npx', ['jest', '--testRegex', `${file}$`, ...options], env);
}
