import { closeSync, constants, openSync } from 'node:fs';
import { dirname, isAbsolute } from 'node:path';
import { Candidate } from '../image/candidate.js';
import { plainSource } from '../image/source.js';
import { SoError } from '../internal/errors.js';
import { native } from '../native/addon.js';
import { createBeside, sweepBeside } from './file-beside.js';
import {
  fchmod,
  fchown,
  fsync,
  read,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  write,
} from './file-calls.js';
import { filePath } from './library-path.js';

/**
 * Puts a library in the place of another in one step, so that whoever opens the destination sees the old file or the
 * new one, never a half of either, even if this process is killed meanwhile or the disk is full.
 *
 * The source is checked as a candidate first, and exactly the bytes that were checked are written, to a new file
 * beside the destination, which gets the mode and, where this process may give files away, the owner of the old one, is
 * synced and renamed. A symbolic link is followed: the file that it leads to is replaced. What a process that was
 * killed at it has left beside the destination is removed by the next one.
 *
 * Reading, writing and syncing are done off the JavaScript thread.
 *
 * @param source The library to install: a path or a `file:` URL, never a bare name that is looked up.
 * @param destination The file to replace or to create, in a directory that exists.
 * @throws {SoError} The source is refused, with the same codes as for {@link SoHandle.open}; or
 * `ERR_SOSWAP_INSTALL` with the system's error as `cause`. The destination is as it was.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`: an argument is no path.
 *
 * @example
 * await install('./build/libprice.so', './libprice.so');
 * await price.swap();
 */
export async function install(source: string | URL, destination: string | URL): Promise<void> {
  const from = filePath('source', source);
  const to = filePath('destination', destination);
  const candidate = await Candidate.takeAsync(plainSource(from, { extent: 'whole', edits: [] }));
  try {
    const { descriptor, size } = candidate.facts;
    await replace(descriptor, size, from, await resolveLinks(to));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `cannot install '${from}' as '${to}': ${reason}`;
    throw new SoError('ERR_SOSWAP_INSTALL', message, to, undefined, { cause });
  } finally {
    candidate.release();
  }
}

async function replace(copy: number, size: number, from: string, to: string): Promise<void> {
  const before = await statOrUndefined(to);
  if (before?.isDirectory()) throw new Error('it is a directory; name the file in it');
  if (before !== undefined && !before.isFile()) throw new Error('it is not a regular file');
  const like = before ?? (await stat(from));
  await sweepBeside(to);
  const { descriptor, path, named } = await createBeside(to);
  try {
    await copyBytes(copy, descriptor, size);
    if (before !== undefined) await keepOwner(descriptor, before.uid, before.gid);
    await fchmod(descriptor, like.mode & 0o7777);
    await fsync(descriptor);
    if (!named) native.linkDescriptor(descriptor, path);
    await rename(path, to);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    closeSync(descriptor);
  }
  await syncDirectory(dirname(to));
}

async function copyBytes(from: number, to: number, size: number): Promise<void> {
  const chunk = Buffer.allocUnsafe(Math.min(size, 1 << 20));
  for (let position = 0; position < size; ) {
    const wanted = Math.min(chunk.length, size - position); // the copy goes on behind the end
    const { bytesRead } = await read(from, chunk, 0, wanted, position);
    if (bytesRead === 0) throw new Error('the copy ended early');
    for (let done = 0; done < bytesRead; ) {
      const { bytesWritten } = await write(to, chunk, done, bytesRead - done, position + done);
      done += bytesWritten;
    }
    position += bytesRead;
  }
}

async function keepOwner(descriptor: number, uid: number, gid: number): Promise<void> {
  try {
    await fchown(descriptor, uid, gid);
  } catch (error) {
    // Only root may give files away, chown(2); mv(1) leaves it at that too.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
  }
}

/** Makes the rename last through a power failure, where the file system can. */
async function syncDirectory(directory: string): Promise<void> {
  try {
    const descriptor = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    await fsync(descriptor).finally(() => closeSync(descriptor));
  } catch {
    // It has taken effect all the same, and must not be told as a failure.
  }
}

/** Where a path leads to, also if nothing is there yet. */
async function resolveLinks(path: string): Promise<string> {
  const mostLinks = 40; // path_resolution(7)
  let reached = path;
  for (let links = 0; links <= mostLinks; links++) {
    const target = await readlink(reached).catch(() => undefined);
    if (target === undefined) return reached;
    // Not joined: what is before a `..` may be a link.
    reached = isAbsolute(target) ? target : `${await realpath(dirname(reached))}/${target}`;
  }
  throw new Error('too many symbolic links');
}

async function statOrUndefined(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
