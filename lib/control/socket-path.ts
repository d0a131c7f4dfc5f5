import { lstatSync, mkdirSync, readdirSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { SoError } from '../internal/errors.js';

/** The longest path of a Unix socket in bytes; unix(7). */
const longest = 107;

/** The directories in which processes of this user have their control sockets, the usual one first. */
export function controlDirectories(): string[] {
  const { SOSWAP_CONTROL_DIR: own, XDG_RUNTIME_DIR: runtime } = process.env;
  if (own) return [own];
  const user = process.geteuid?.() ?? 0;
  return [
    ...(runtime ? [join(runtime, 'soswap')] : []),
    ...(user === 0 ? ['/run/soswap'] : []),
    join(tmpdir(), `soswap-${user}`),
  ];
}

/**
 * Makes the directory if it is absent, for this user alone.
 *
 * @throws {SoError} `ERR_SOSWAP_CONTROL`: it is somebody else's, a symbolic link, or others may use it.
 */
export function ownDirectory(directory: string): void {
  const fail = (why: string, cause?: unknown): never => {
    const message = `cannot have a control socket in '${directory}': ${why}`;
    throw new SoError('ERR_SOSWAP_CONTROL', message, directory, undefined, { cause });
  };
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    fail((cause as Error).message, cause);
  }
  const { mode, uid } = lstatSync(directory);
  const is = (type: number) => (mode & 0o170000) === type;
  if (!is(0o040000)) fail(is(0o120000) ? 'it is a symbolic link' : 'it is no directory');
  if (uid !== process.geteuid?.()) fail('it belongs to another user');
  if ((mode & 0o077) !== 0) fail('others may use it; its mode must be 0700');
}

/** The directory in which this process has its socket: the first one that it can have for itself. */
export function usualDirectory(): string {
  const directories = controlDirectories();
  let first: unknown;
  for (const directory of directories) {
    try {
      ownDirectory(directory);
      return directory;
    } catch (error) {
      first ??= error;
    }
  }
  throw first;
}

/** The usual name of the socket. */
export function socketName(name: string): string {
  return `${name}-${process.pid}.sock`;
}

/** What the process calls itself, unless it says otherwise: its script. */
export function usualName(): string {
  const script = basename(process.argv[1] ?? 'node').replace(/\.\w+$/, '');
  return script.replaceAll(/[^\w.-]/g, '_') || 'node';
}

/** @throws {SoError} `ERR_SOSWAP_CONTROL` */
export function assertShort(path: string): void {
  if (Buffer.byteLength(path) <= longest) return;
  const message = `cannot have a control socket at '${path}': the path is longer than ${longest} bytes`;
  throw new SoError('ERR_SOSWAP_CONTROL', message, path);
}

/** The sockets in a directory that belong to this user, or to anybody for root. */
export function socketsIn(directory: string): string[] {
  const user = process.geteuid?.() ?? 0;
  try {
    const { uid } = lstatSync(directory);
    if (uid !== user && user !== 0) return [];
    return readdirSync(directory)
      .filter((name) => name.endsWith('.sock'))
      .map((name) => join(directory, name))
      .filter((path) => lstatSync(path, { throwIfNoEntry: false })?.isSocket());
  } catch {
    return []; // there is none
  }
}

/** Whether a process listens at a socket. Milliseconds that it may take: 1,000. */
export function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const settle = (served: boolean) => {
      socket.destroy();
      resolve(served);
    };
    socket.setTimeout(1000, () => settle(true)); // somebody has it, and is busy
    socket.once('connect', () => settle(true));
    socket.once('error', ({ code }: NodeJS.ErrnoException) => {
      settle(code !== 'ECONNREFUSED' && code !== 'ENOENT');
    });
  });
}

/** Removes the socket of a process that has ended. Returns whether there is none now. */
export async function removeStale(path: string): Promise<boolean> {
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (status === undefined) return true;
  if (!status.isSocket() || status.uid !== process.geteuid?.() || (await isServed(path))) {
    return false;
  }
  try {
    unlinkSync(path);
  } catch {
    // Another process was faster.
  }
  return true;
}
