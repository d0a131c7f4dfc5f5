import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { exitedCleanly, runProgram } from '../fixtures/child.js';

const readme = readFileSync('README.md', 'utf8');

/** The blocks of one language, in order. */
function blocks(language: string): string[] {
  return [...readme.matchAll(/```(\w+)\n(.*?)```/gs)]
    .filter(([, name]) => name === language)
    .map(([, , text]) => text ?? '');
}

const command = /built with `(cc [^`]*)`/.exec(readme)?.[1] ?? '';

t.test('the first swap works as it is written', async (t) => {
  const [source = ''] = blocks('c');
  const [program = ''] = blocks('ts');
  const directory = t.testdir({ 'price.c': source });
  const build = () => execFileSync('/bin/sh', ['-c', command], { cwd: directory });
  build();
  const next = source.replace('base * count', 'base * count / 2');
  t.not(next, source, 'a second version to swap to');
  writeFileSync(join(directory, 'next.c'), next);

  const somebody = /^\/\/ … somebody replaces .*$/m;
  t.match(program, somebody);
  const replace = `(await import('node:child_process')).execSync(${JSON.stringify(
    command.replace('price.c', 'next.c'),
  )});`;
  const ended = await runProgram(program.replace(somebody, replace), { cwd: directory });
  t.match(ended, exitedCleanly);
  t.equal(ended.stdout, '203\n101.5\n2 true\n');
});

t.test('the error codes are those of SoErrorCode', async (t) => {
  const source = readFileSync('lib/errors.ts', 'utf8');
  const codes = (text: string) => [...new Set(text.match(/ERR_SOSWAP_[A-Z_]+/g))].sort();
  const table = readme.slice(readme.indexOf('## Errors'), readme.indexOf('## What a swap cannot'));
  t.same(codes(table), codes(source));
});

t.test('the commands for a fresh machine are scripts of the package', async (t) => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'));
  for (const name of ['demo', 'test']) t.type(scripts[name], 'string', name);
  t.match(readme, 'npm install && npm run demo');
  t.match(readme, 'npm install && npm test');
});
