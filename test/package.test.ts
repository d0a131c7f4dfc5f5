import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import ts from 'typescript';
import { twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, root, runNode, runProgram } from '../fixtures/child.js';

const { one } = twoBuilds(t.testdir());
// Node.js 20.19 warns that require() of a module is experimental.
const runCommonJs = (program: string) =>
  runNode(['--no-warnings', '--eval', program], { cwd: root });

t.test('the package loads by import', async (t) => {
  const program = `
    import { SoHandle } from 'soswap';
    import * as dl from 'soswap/dl';
    process.send([typeof SoHandle.open, typeof dl.dlopen]);
  `;
  t.match(await runProgram(program, { cwd: root }), {
    ...exitedCleanly,
    messages: [['function', 'function']],
  });
});

t.test('the package loads by require(), and works', async (t) => {
  const program = `
    const { SoHandle } = require('soswap');
    const dl = require('soswap/dl');
    const so = SoHandle.open(${JSON.stringify(one)}, { version: { return: 'string' } });
    process.send([so.functions.version(), typeof dl.dlopen]);
  `;
  t.match(await runCommonJs(program), { ...exitedCleanly, messages: [['build 1111', 'function']] });
});

t.test('a program may import and require() it at once', async (t) => {
  const program = `
    import { createRequire } from 'node:module';
    import { SoHandle } from 'soswap';
    const required = createRequire(process.cwd() + '/')('soswap');
    process.send(required.SoHandle === SoHandle);
  `;
  const ended = await runProgram(program, { cwd: root }, '--no-warnings');
  t.match(ended, { ...exitedCleanly, messages: [true] });
});

t.test('a CommonJS program in TypeScript may import it with `module: node16`', async (t) => {
  const program = ts.createProgram([join(root, 'test/package/programs/typed.cts')], {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.Node16,
    types: ['node'],
    strict: true,
    skipLibCheck: true, // test/package/run does without
    noEmit: true,
  });
  const complaints = ts.getPreEmitDiagnostics(program).map(({ messageText }) => messageText);
  t.same(complaints, []);
});

t.test('the package has its version', async (t) => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const program = "process.send(require('soswap/package.json').version)";
  t.match(await runCommonJs(program), { ...exitedCleanly, messages: [version] });
});
