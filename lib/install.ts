import { randomBytes } from 'node:crypto';
import { constants, read as readCallback } from 'node:fs';
import { type FileHandle, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { Candidate, plainSource } from './candidate.js';
import { SoError } from './errors.js';
import { filePath } from './library-path.js';
import { native } from './native.js';

const read = promisify(readCallback);

/**
 * Puts a library in the place of another in one step, so that whoever opens the destination sees the old file or the
 * new one, never a half of either, even if this process is killed meanwhile or the disk is full.
 *
 * The source is checked as a candidate first, and exactly the bytes that were checked are written, to a new file
 * beside the destination, which gets the mode and owner of the old one, is synced and renamed. A symbolic link is
 * followed: the file that it leads to is replaced.
 *
 * @throws {SoError} The source is refused, or `ERR_SOSWAP_INSTALL`; the destination is as it was.
 */
export async function install(source: string | URL, destination: string | URL): Promise<void> {
  const from = filePath('source', source);
  const to = filePath('destination', destination);
  const candidate = await Candidate.takeAsync(plainSource(from));
  try {
    await replace(candidate.facts.descriptor, candidate.facts.size, from, await resolveLinks(to));
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
  if (before !== undefined && !before.isFile()) throw new Error('it is not a regular file');
  const like = before ?? (await stat(from));
  const directory = dirname(to);
  const temporary = join(directory, `.${basename(to)}.${randomBytes(6).toString('hex')}.soswap`);
  const { file, named } = await createBeside(directory, temporary);
  try {
    await write(file, copy, size);
    if (before !== undefined) await keepOwner(file, before.uid, before.gid);
    await file.chmod(like.mode & 0o7777);
    await file.sync();
    if (!named) native.linkDescriptor(file.fd, temporary);
    await rename(temporary, to);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  await syncDirectory(directory);
}

/** A file without a name goes with the process, O_TMPFILE of open(2); not every file system has it. */
async function createBeside(
  directory: string,
  temporary: string,
): Promise<{ file: FileHandle; named: boolean }> {
  // Not among Node's constants: __O_TMPFILE | O_DIRECTORY, of <fcntl.h> on x86-64 and arm64.
  const nameless = 0o20000000 | constants.O_DIRECTORY;
  try {
    return { file: await open(directory, nameless | constants.O_RDWR, 0o600), named: false };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'EOPNOTSUPP' && code !== 'EISDIR' && code !== 'EINVAL') throw error;
    return { file: await open(temporary, 'wx', 0o600), named: true };
  }
}

async function write(file: FileHandle, copy: number, size: number): Promise<void> {
  const chunk = Buffer.allocUnsafe(Math.min(size, 1 << 20));
  for (let position = 0; position < size; ) {
    const { bytesRead } = await read(copy, chunk, 0, chunk.length, position);
    if (bytesRead === 0) throw new Error('the copy ended early');
    for (let done = 0; done < bytesRead; ) {
      const { bytesWritten } = await file.write(chunk, done, bytesRead - done, position + done);
      done += bytesWritten;
    }
    position += bytesRead;
  }
}

async function keepOwner(file: FileHandle, uid: number, gid: number): Promise<void> {
  try {
    await file.chown(uid, gid);
  } catch (error) {
    // Only root may give files away, chown(2); mv(1) leaves it at that too.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
  }
}

/** Makes the rename last through a power failure. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function resolveLinks(path: string): Promise<string> {
  return (await statOrUndefined(path)) === undefined ? path : realpath(path);
}

async function statOrUndefined(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
