// node --import ./tools/typescript.js: runs the TypeScript of tests and benchmarks. Types are left out and not checked; the
// package itself comes from dist/, whatever tsconfig.json says of it.

import { register } from 'tsx/esm/api';

register({ tsconfig: false });
