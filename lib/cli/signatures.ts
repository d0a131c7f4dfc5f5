import { spawnSync } from 'node:child_process';
import { accessSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspect } from '../facts/inspect.js';
import { readArguments } from './arguments.js';
import { Header } from './signatures/c-header.js';
import { definitionsText } from './signatures/definitions.js';
import { UsageError } from './usage-error.js';

const usage = `usage: soswap signatures LIB --header FILE.h [OPTIONS]

Prints a TypeScript module with the definitions of the functions that a library exports, as its header declares them:
\`definitions\` for SoHandle.open(), and \`prototypes\` for koffiFunctions() of soswap/koffi, of what needs koffi:
structures, callbacks, variadic functions. A comment lists what has no definition. The command reads the library and
does not load it.

      --header FILE.h    the header; needed
  -I, --include DIR      a directory in which the header includes others; any number of them
  -D, --define NAME=TEXT a macro for the preprocessor; any number of them
  -o, --output FILE.ts   a file for the module, in place of the standard output
  -h, --help             this help

It needs a C compiler, $CC or cc, for the preprocessor, and the parser of tree-sitter:
npm install --save-dev --ignore-scripts web-tree-sitter tree-sitter-c

exit codes: 0 printed or written; 1 the library or the header cannot be read, or nothing exported is declared in it;
            2 wrong usage

example: soswap signatures libz.so.1 --header /usr/include/zlib.h --output zlib.ts
`;

const many = { type: 'string', multiple: true } as const;

export async function run(args: string[]): Promise<void> {
  const parsed = readArguments(args, usage, ['LIB'], {
    header: { type: 'string' },
    include: { ...many, short: 'I' },
    define: { ...many, short: 'D' },
    output: { type: 'string', short: 'o' },
  });
  if (parsed === undefined) return;
  const { header: file, include = [], define = [], output } = parsed.values;
  if (file === undefined) throw new UsageError('--header is missing; see --help');
  const { path, exports } = inspect(parsed.operands[0] ?? '');
  const called = exports.filter(({ type }) => type === 'function' || type === 'indirect-function');
  const names = [...new Set(called.map(({ name }) => name))].toSorted();
  const flags = [...include.map((each) => `-I${each}`), ...define.map((each) => `-D${each}`)];
  const { functions } = await parseHeader(preprocessed(file, flags));
  const { text, sorted } = definitionsText(names, functions, { library: path, header: file });
  const count = sorted.bound.length + sorted.koffi.length;
  if (count === 0) throw new Error(`'${file}' declares no function that '${path}' exports`);
  if (output === undefined) {
    process.stdout.write(text);
    return;
  }
  writeFileSync(output, text);
  const { length: needing } = sorted.koffi;
  const summary = `${count} functions, ${needing} of them need koffi; ${sorted.neither.length} without a definition`;
  process.stdout.write(`wrote ${output}: ${summary}\n`);
}

/** The header with all that it includes, and without macros. */
function preprocessed(file: string, flags: readonly string[]): string {
  accessSync(file);
  const [compiler = 'cc', ...words] = (process.env.CC ?? 'cc').split(' ');
  // Words of compilers that are no part of the language. Attributes stay: they may say how a structure lies in memory.
  const without = ['__extension__', '__restrict', '__restrict__', '__inline', '__inline__'];
  const options = ['-E', '-P', '-x', 'c', ...without.map((word) => `-D${word}=`), ...flags];
  const { status, stdout, stderr, error } = spawnSync(
    compiler,
    [...words, ...options, resolve(file)],
    {
      encoding: 'utf8',
      maxBuffer: 2 ** 30,
    },
  );
  if (error !== undefined) {
    const advice = 'set $CC, or install a compiler; on Debian: apt-get install gcc';
    throw new Error(`cannot preprocess '${file}': ${error.message}; ${advice}`);
  }
  if (status !== 0) throw new Error(`cannot preprocess '${file}': ${firstError(stderr)}`);
  return stdout;
}

function firstError(text: string): string {
  const lines = text.trim().split('\n');
  return lines.find((line) => line.includes('error')) ?? lines[0] ?? 'the compiler failed';
}

async function parseHeader(text: string): Promise<Header> {
  const { Parser, Language, grammar } = await treeSitter();
  await Parser.init();
  const parser = new Parser();
  parser.setLanguage(await Language.load(grammar));
  const tree = parser.parse(text);
  if (tree === null) throw new Error('the parser of tree-sitter gave no result');
  return new Header(tree);
}

/** Optional peer dependencies, for this command alone needs them. */
async function treeSitter() {
  try {
    const { Parser, Language } = await import('web-tree-sitter');
    const grammar = fileURLToPath(import.meta.resolve('tree-sitter-c/tree-sitter-c.wasm'));
    return { Parser, Language, grammar };
  } catch (cause) {
    const advice = 'npm install --save-dev --ignore-scripts web-tree-sitter tree-sitter-c';
    throw new Error(`the parser of tree-sitter is not installed; ${advice}`, { cause });
  }
}
