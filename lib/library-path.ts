import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { argumentTypeError, argumentValueError } from './errors.js';
import { native } from './native.js';

/**
 * The absolute path that `path` means: a path as it is, a bare name (`libz.so.1`) as dlopen(3) looks it up.
 * Symbolic links are kept, because one that is flipped is how many deployments replace a library.
 */
export function libraryPath(path: string | URL): string {
  const text = path instanceof URL ? fileURLToPath(path) : path;
  if (typeof text !== 'string') throw argumentTypeError('path', 'a string or a file: URL', path);
  if (text === '' || text.includes('\0')) {
    throw argumentValueError('path', 'must be a path without null bytes', path);
  }
  return text.includes('/') ? resolve(text) : native.findLibrary(text);
}
