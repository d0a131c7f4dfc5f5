import { closeSync, constants, openSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { native } from '../native/addon.js';
import { fstat, readdir, unlink } from './file-calls.js';

/** A new file that replaces another one by a rename. The process that writes it holds its lock, flock(2). */
export interface ReplacementFile {
  readonly descriptor: number;
  /** Path of the file, in the directory of the file that it replaces. */
  readonly path: string;
  /** Whether the file has that path already. A file without a name ends with the process. */
  readonly named: boolean;
}

/**
 * Creates a file that will replace the one at `path`. The file has no name if the file system supports O_TMPFILE of
 * open(2).
 */
export async function createReplacement(path: string): Promise<ReplacementFile> {
  // Node does not export O_TMPFILE: __O_TMPFILE | O_DIRECTORY in <fcntl.h> of x86-64 and arm64.
  const unnamed = 0o20000000 | constants.O_DIRECTORY | constants.O_RDWR;
  const { directory, prefix } = naming(path);
  // The module is loaded here, because most programs install nothing.
  const suffix = process.getBuiltinModule('node:crypto').randomBytes(6).toString('hex');
  const name = join(directory, `${prefix}${suffix}.soswap`);
  try {
    const descriptor = openSync(directory, unnamed, 0o600);
    native.lockDescriptor(descriptor);
    return { descriptor, path: name, named: false };
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (!['ENOTSUP', 'EISDIR', 'EINVAL'].includes(code)) throw error;
  }
  const descriptor = openSync(name, 'wx', 0o600);
  const locked = native.lockDescriptor(descriptor);
  // Another process may have taken the file for an abandoned one before this process locked it.
  const removed = locked === 'by-another' || (await fstat(descriptor)).nlink === 0;
  if (!removed) return { descriptor, path: name, named: true };
  closeSync(descriptor);
  return createReplacement(path);
}

/**
 * Removes the replacement files that killed processes left in the directory of `path`. A file without a lock is
 * abandoned, because the kernel releases a lock when its process ends. Errors are ignored.
 */
export async function removeAbandonedReplacements(path: string): Promise<void> {
  const { directory, prefix } = naming(path);
  const names = await readdir(directory).catch(() => []);
  for (const name of names) {
    const isOurs =
      name.startsWith(prefix) && /^[0-9a-f]{12}\.soswap$/.test(name.slice(prefix.length));
    if (isOurs) await removeUnlessLocked(join(directory, name)).catch(() => {});
  }
}

async function removeUnlessLocked(path: string): Promise<void> {
  const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
  const descriptor = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    // Names are random and never reused. If the file was renamed meanwhile, unlink() finds nothing.
    if (native.lockDescriptor(descriptor) === 'locked') await unlink(path);
  } finally {
    closeSync(descriptor);
  }
}

/** Returns the directory of a file and the prefix of its replacement files. A file name has at most 255 bytes. */
function naming(path: string) {
  return { directory: dirname(path), prefix: `.${basename(path).slice(0, 50)}.` };
}
