// Copies the types in dist/ to dist/require/, where TypeScript takes them for those of CommonJS modules: with `module: node16`
// it lets no CommonJS program import an ES module, although require() of one works on every supported Node.js.

import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const dist = join(import.meta.dirname, '../dist');
const copies = join(dist, 'require');

rmSync(copies, { recursive: true, force: true });
for (const name of readdirSync(dist, { recursive: true })) {
  if (!name.endsWith('.d.ts') || name.startsWith('cli/')) continue;
  mkdirSync(dirname(join(copies, name)), { recursive: true });
  cpSync(join(dist, name), join(copies, name));
}
writeFileSync(join(copies, 'package.json'), '{ "type": "commonjs" }\n');
