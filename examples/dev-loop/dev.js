// Save a C file, and the running process has the new code.
//
//   npm run example:dev-loop                   from a checkout: builds the package first
//   node examples/dev-loop/dev.js [SOURCE]     another file than the price.c beside this one

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, watch } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { install, SoHandle } from 'soswap';

const source = resolve(process.argv[2] ?? fileURLToPath(new URL('price.c', import.meta.url)));
const directory = mkdtempSync(join(tmpdir(), 'soswap-dev-loop-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const library = join(directory, 'libprice.so');

let compiled = compile();
/** @type {NodeJS.Timeout | undefined} */
let soon;

if (!(await compiled)) process.exit(1);
const price = SoHandle.open(library, {
  quote: { arguments: ['float64', 'uint32'], return: 'float64' },
});
const { quote } = price.functions;
const tell = () => console.log(`quote(100, 3) = ${quote(100, 3)}`);

price.watch();
price.on('swap', ({ generation, totalMicroseconds }) => {
  console.log(`generation ${generation} after ${(totalMicroseconds / 1000).toFixed(1)} ms`);
  tell();
});
price.on('refused', ({ message }) => {
  console.log(`${message}\nRefused: nothing changes.`);
  tell();
});

// Editors replace files as well as they write them: the directory sees both.
const sources = watch(dirname(source), (_event, name) => {
  if (name === basename(source)) compileSoon();
});

process.once('SIGINT', stop).once('SIGTERM', stop);
console.log(`Edit ${source} and save it. Ctrl-C ends this.`);
tell();

/** Compiles beside the library, which is then replaced in one step. */
async function compile() {
  const next = join(directory, 'next.so');
  try {
    await promisify(execFile)('cc', ['-shared', '-fPIC', '-O1', source, '-o', next]);
    await install(next, library);
    return true;
  } catch (error) {
    const { stderr, message } = /** @type {Error & { stderr?: string }} */ (error);
    console.log(stderr || message); // what the compiler says
    console.log('Not compiled: nothing changes.');
    return false;
  }
}

/** Once for all the events of one save, and one after the other. */
function compileSoon() {
  clearTimeout(soon);
  soon = setTimeout(() => {
    compiled = compiled.then(compile);
  }, 50);
}

function stop() {
  clearTimeout(soon);
  sources.close();
  price.close();
}
