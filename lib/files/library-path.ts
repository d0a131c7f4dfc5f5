import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { argumentTypeError, argumentValueError } from '../internal/errors.js';
import { native } from '../native/addon.js';

/**
 * The absolute path that `path` means: a path as it is, a bare name (`libz.so.1`) as dlopen(3) looks it up.
 * Symbolic links are kept, because one that is flipped is how many deployments replace a library.
 */
export function libraryPath(path: unknown): string {
  const text = pathText('path', path);
  return text.includes('/') ? resolve(text) : native.findLibrary(text);
}

/** The absolute path of a file that is not looked up anywhere. */
export function filePath(name: string, path: unknown): string {
  return resolve(pathText(name, path));
}

function pathText(name: string, path: unknown): string {
  const text = path instanceof URL ? fileURLToPath(path) : path;
  if (typeof text !== 'string') throw argumentTypeError(name, 'a string or a file: URL', path);
  if (text === '' || text.includes('\0')) {
    throw argumentValueError(name, 'must be a path, not empty and without null bytes', path);
  }
  return text;
}
