// Fails where a folder uses one that it must not know. It may use those before it in its list. Of those after it, lib/ may
// use types; Biome finds cycles of files, types included.

import { readdirSync, readFileSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const layers = {
  'native/core': 'base elf copy loader tracking resolve life image bind call swap'.split(' '),
  lib: 'internal native call image files facts swap triggers handle group reload koffi koffi.ts control control.ts include.ts dl.ts index.ts cli'.split(
    ' ',
  ),
};

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
for (const [top, order] of Object.entries(layers)) {
  const isNode = /^(binding|napi|node|node_api|js_native_api|v8|uv)\b/;
  const layerOf = (path) => order.indexOf(path.slice(top.length + 1).split('/')[0]);
  for (const entry of readdirSync(top, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    for (const name of file.endsWith('.ts') ? imports(file) : includes(file)) {
      const used = name.startsWith('.') ? normalize(join(file, '..', name)) : `native/${name}`;
      const complaint = `${file} uses ${used}`;
      const downwards = layerOf(file) >= layerOf(used) && layerOf(used) >= 0;
      if (top === 'native/core' && isNode.test(name)) {
        fail(`${file} includes ${name}: native/core knows nothing of Node.js`);
      } else if (used.startsWith(`${top}/`) && !downwards) {
        fail(`${complaint}: from low to high, ${top} is ${order.join(' < ')}`);
      }
    }
  }
}

function includes(file) {
  const found = readFileSync(file, 'utf8').matchAll(/^\s*#\s*include\s*["<]([^">]+)/gm);
  return [...found].map(([, name]) => name);
}

/** Without those of types. */
function imports(file) {
  const compilerOptions = { module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true };
  const { outputText } = ts.transpileModule(readFileSync(file, 'utf8'), { compilerOptions });
  const found = ts.preProcessFile(outputText).importedFiles.map(({ fileName }) => fileName);
  return found.filter((name) => name.startsWith('.')).map((name) => name.replace(/\.js$/, '.ts'));
}

function fail(complaint) {
  console.error(complaint);
  process.exitCode = 1;
}
