import { closeSync, constants, openSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { native } from '../native/addon.js';
import { fstat, readdir, unlink } from './file-calls.js';

/** A new file that is to be renamed onto another. Whoever has it open holds its lock, flock(2). */
export interface FileBeside {
  readonly descriptor: number;
  /** Its name, in the directory of the other file. */
  readonly path: string;
  /** Whether it has that name already; if not, it goes with the process. */
  readonly named: boolean;
}

/** Without a name where the file system has O_TMPFILE, open(2): not every one does. */
export async function createBeside(path: string): Promise<FileBeside> {
  // Not among Node's constants: __O_TMPFILE | O_DIRECTORY, of <fcntl.h> on x86-64 and arm64.
  const nameless = 0o20000000 | constants.O_DIRECTORY | constants.O_RDWR;
  const { directory, prefix } = naming(path);
  // The module is loaded here, because most programs install nothing.
  const suffix = process.getBuiltinModule('node:crypto').randomBytes(6).toString('hex');
  const name = join(directory, `${prefix}${suffix}.soswap`);
  try {
    const descriptor = openSync(directory, nameless, 0o600);
    native.lockDescriptor(descriptor);
    return { descriptor, path: name, named: false };
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (!['ENOTSUP', 'EISDIR', 'EINVAL'].includes(code)) throw error;
  }
  const descriptor = openSync(name, 'wx', 0o600);
  const locked = native.lockDescriptor(descriptor);
  const swept = locked === 'by-another' || (await fstat(descriptor)).nlink === 0;
  if (!swept) return { descriptor, path: name, named: true };
  closeSync(descriptor);
  return createBeside(path);
}

/**
 * Removes what processes that were killed have left beside this file. A lock tells it from what is still being written;
 * it ends with the process. Whatever cannot be removed is left where it is.
 */
export async function sweepBeside(path: string): Promise<void> {
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
    // Its name is never given out again: if the file has got another one meanwhile, nothing is removed.
    if (native.lockDescriptor(descriptor) === 'locked') await unlink(path);
  } finally {
    closeSync(descriptor);
  }
}

/** Names are 255 bytes long at most. */
function naming(path: string) {
  return { directory: dirname(path), prefix: `.${basename(path).slice(0, 50)}.` };
}
