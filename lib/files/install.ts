import { closeSync, constants, openSync } from 'node:fs';
import { dirname, isAbsolute } from 'node:path';
import { Candidate } from '../image/candidate.js';
import { plainSource } from '../image/source.js';
import { SoError } from '../internal/errors.js';
import { runAsync } from '../internal/steps.js';
import { native } from '../native/addon.js';
import {
  fchmod,
  fchown,
  fstat,
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
import { createReplacement, removeAbandonedReplacements } from './replacement-file.js';

/**
 * Replaces a file with a library in one step. A program that opens the destination gets the whole old file or the whole
 * new file, even if this process is killed meanwhile or the disk is full.
 *
 * The function inspects the source as a swap does, and writes the inspected bytes to a new file in the directory of the
 * destination. The new file gets the mode of the old file and, if this process has the permission, its owner and group;
 * without them it gets no set-user-ID and no set-group-ID bit. Access control lists and extended attributes of the old file
 * are lost, capabilities included: the new file gets the default list of its directory, and the label that the security
 * policy gives a new file there. The function syncs the new file and renames it. If the destination is a symbolic link, the file that the link leads to is
 * replaced. If a process was killed during an installation, the next installation removes its new file.
 *
 * Other threads read, write and sync the files.
 *
 * @param source The library to install: a path or a `file:` URL. A bare name is a path in the current directory.
 * @param destination The file to replace or to create: a path or a `file:` URL. Its directory must exist.
 * @throws {SoError} The destination is unchanged. The source was refused, with the codes of {@link SoHandle.open}; or
 * the destination could not be written: `ERR_SOSWAP_INSTALL`, with the error of the system as `cause`.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`: an argument is not a path.
 *
 * @example
 * await install('./build/libprice.so', './libprice.so');
 * await price.swap();
 */
export async function install(source: string | URL, destination: string | URL): Promise<void> {
  const from = filePath('source', source);
  const to = filePath('destination', destination);
  const candidate = await runAsync(
    Candidate.take(plainSource(from, { extent: 'whole', edits: [] })),
  );
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
  if (before?.isDirectory()) throw new Error('the destination is a directory; add a file name');
  if (before !== undefined && !before.isFile())
    throw new Error('the destination is not a regular file');
  const like = before ?? (await stat(from));
  await removeAbandonedReplacements(to);
  const { descriptor, path, named } = await createReplacement(to);
  try {
    await copyBytes(copy, descriptor, size);
    if (before !== undefined) await keepOwner(descriptor, before.uid, before.gid);
    const { uid, gid } = await fstat(descriptor);
    const setsId = uid === like.uid && gid === like.gid ? 0o6000 : 0; // else it would run as somebody else
    await fchmod(descriptor, like.mode & (0o1777 | setsId));
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
    const wanted = Math.min(chunk.length, size - position); // the snapshot may be longer than the file
    const { bytesRead } = await read(from, chunk, 0, wanted, position);
    if (bytesRead === 0) throw new Error('the snapshot of the source is too short');
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
    // Only root may change the owner of a file, chown(2). mv(1) ignores the error too.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
  }
}

/** Makes the rename survive a power failure, if the file system supports that. */
async function syncDirectory(directory: string): Promise<void> {
  try {
    const descriptor = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    await fsync(descriptor).finally(() => closeSync(descriptor));
  } catch {
    // The file has been replaced. An error here must not report a failure.
  }
}

/** Follows the symbolic links of a path. The file that it leads to may be absent. */
async function resolveLinks(path: string): Promise<string> {
  const maxLinks = 40; // path_resolution(7)
  let reached = path;
  for (let links = 0; links <= maxLinks; links++) {
    const target = await readlink(reached).catch(() => undefined);
    if (target === undefined) return reached;
    // Not join(), which removes `..` and the name before it, which may be a link.
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
