/**
 * Calls of node:fs that return promises and survive the termination of a worker thread. node:fs/promises then leaks the
 * descriptors of its file handles, and may abort the process (Node.js 20). Callers open files with openSync() and close
 * them with closeSync(): Node.js closes the files that a terminated worker opened, but cancels a close() that waits for
 * the thread pool.
 *
 * @module
 */

import * as fs from 'node:fs';
import { promisify } from '../internal/node-util.js';

export const fchmod = promisify(fs.fchmod);
export const fchown = promisify(fs.fchown);
export const fstat = promisify(fs.fstat);
export const fsync = promisify(fs.fsync);
export const read = promisify(fs.read);
export const readdir = promisify(fs.readdir);
export const readlink = promisify(fs.readlink);
export const realpath = promisify(fs.realpath.native);
export const rename = promisify(fs.rename);
export const rm = promisify(fs.rm);
export const stat = promisify(fs.stat);
export const unlink = promisify(fs.unlink);
export const write = promisify(fs.write);
