/**
 * Calls of node:fs that return promises, for worker threads, which may be terminated at any time: node:fs/promises then
 * loses the descriptors of its file handles, and may abort the process (Node.js 20). Files are opened with openSync() and
 * closed with closeSync(): Node.js closes what a terminated worker has opened, but cancels a close() that waits for the
 * thread pool.
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
