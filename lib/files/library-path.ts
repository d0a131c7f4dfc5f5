import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { argumentTypeError, argumentValueError, SoError } from '../internal/errors.js';
import { native } from '../native/addon.js';

/**
 * Returns the absolute path of a library. Searches for a bare name (`libz.so.1`) as dlopen(3) does. Does not resolve
 * symbolic links, because many deployments replace a library by changing a link.
 *
 * @throws {SoError} `ERR_SOSWAP_NOT_FOUND`: the search for a bare name found nothing.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`
 */
export function libraryPath(path: unknown): string {
  const text = pathText('path', path);
  return text.includes('/') ? resolve(text) : search(text);
}

function search(name: string): string {
  try {
    return native.findLibrary(name);
  } catch (error) {
    if (!(error instanceof SoError) || !existsSync(name)) throw error;
    throw error.with(`the path of the file in the current directory is './${name}'`, 'unchanged');
  }
}

/**
 * Returns the absolute path of a file. A bare name is a file in the current directory.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`
 */
export function filePath(name: string, path: unknown): string {
  return resolve(pathText(name, path));
}

function pathText(name: string, path: unknown): string {
  const text = path instanceof URL ? fileURLToPath(path) : path;
  if (typeof text !== 'string') throw argumentTypeError(name, 'a string or a file: URL', path);
  if (text === '' || text.includes('\0')) {
    throw argumentValueError(name, 'must be a path that is not empty and has no null bytes', path);
  }
  return text;
}
