// Makes the JavaScript of dist/ from lib/: few files instead of one for each idea, because each of them costs whoever imports
// the package half a millisecond. The types come from tsc, with tsconfig.build.json.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transform } from 'esbuild';
import ts from 'typescript';

/** What a user imports, and what is a process of its own. */
const programs = [
  'index',
  'dl',
  'koffi',
  'include',
  'control',
  'cli/main',
  'cli/demo/raw-loop',
  'cli/demo/handle-loop',
  'swap/quarantine/child',
];

/** Files that are no programs and do not belong to the command line. */
const places = { soswap: 'soswap.js', trial: 'swap/quarantine/trial.js' };

/** Packages that the JavaScript contains, so that its import reads no more files. Their licence goes with it. */
const contained = ['fast-string-width', 'fast-string-truncated-width'];

const source = (name) => join(import.meta.dirname, '../lib', `${name}.ts`);

const { config } = ts.readConfigFile('tsconfig.json', ts.sys.readFile);
const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, '.');
const compilerOptions = {
  ...options,
  module: ts.ModuleKind.ESNext,
  sourceMap: true,
  removeComments: true, // a third of the text, which each import would read
};

/** Gets the modules of Node.js by a call: their import makes a second module of each, a fifth of what the package's takes. */
const withoutImports = (code) =>
  code.replace(/^import (.+) from ('node:.+');$/gm, (_, names, module) => {
    const target = names.replace('* as ', '').replaceAll(' as ', ': ');
    return `const ${target} = process.getBuiltinModule(${module});`;
  });

const typescript = {
  name: 'typescript',
  resolveId: (name, importer) =>
    name.startsWith('.') && importer.endsWith('.ts')
      ? join(importer, '..', name.replace(/\.js$/, '.ts'))
      : undefined,
  transform(text, fileName) {
    if (!fileName.endsWith('.ts')) return null;
    const { outputText, sourceMapText } = ts.transpileModule(text, { fileName, compilerOptions });
    // Rollup adds a line of its own that names the map.
    const code = outputText.replace(/^\/\/# sourceMappingURL=.*/m, '');
    return { code: withoutImports(code), map: sourceMapText };
  },
};

const containing = {
  name: 'containing',
  resolveId: (name) =>
    contained.includes(name) ? fileURLToPath(import.meta.resolve(name)) : undefined,
  buildStart() {
    const licences = contained.map((name) => {
      const licence = join(import.meta.dirname, '../node_modules', name, 'license');
      return `${name}\n\n${readFileSync(licence, 'utf8')}`;
    });
    this.emitFile({ type: 'asset', fileName: 'licences.txt', source: licences.join('\n') });
  },
};

/**
 * Leaves out the white space, a quarter of the text. Names stay, for the stacks of errors, and so do lines: Node.js prints
 * the one that threw what nobody caught.
 */
const shortening = {
  name: 'shortening',
  renderChunk: (code) =>
    transform(code, {
      minifyWhitespace: true,
      lineLimit: 100,
      sourcemap: true,
      format: 'esm',
      target: 'node20',
    }),
};

export default {
  input: Object.fromEntries(programs.map((name) => [name, source(name)])),
  external: (name) => /^[^./]/.test(name) && !contained.includes(name),
  context: 'globalThis', // `this` in the helpers that the compiler adds for `using`
  plugins: [containing, typescript, shortening],
  onwarn({ message }) {
    throw new Error(message);
  },
  output: {
    dir: 'dist',
    // All that index.js needs is one file, and the other programs import from it: there is one class SoError and one addon
    // in a process. Each command of the command line is a file, loaded when it is called.
    manualChunks: { soswap: [source('index')], arguments: [source('cli/arguments')] },
    chunkFileNames: ({ name }) => places[name] ?? `cli/${name}.js`,
    sourcemap: true,
    hoistTransitiveImports: false,
    minifyInternalExports: false,
  },
};
