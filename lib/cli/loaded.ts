import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { Candidate } from '../image/candidate.js';
import { plainSource } from '../image/source.js';
import { readArguments, wholeNumber } from './arguments.js';
import { toJson } from './json.js';
import { yellow } from './paint.js';
import { table } from './table.js';
import { UsageError } from './usage-error.js';

const usage = `usage: soswap loaded --pid PID [--json]

Lists what another process runs that is not, or no longer, a file with a name: the private copies that soswap maps
libraries from, and libraries whose files were replaced or removed since they were loaded. That is what the kernel
tells of a process; its generations, retained images and calls in flight are known inside of it alone. A program
shows them by process.on('SIGUSR2', () => console.error(loadedTable())), say.

      --pid PID   the process; it must be yours, or you root
      --json      an array of JSON objects; 64-bit integers are strings
  -h, --help      prints this

exit codes: 0 told, even if there is nothing to tell; 1 no such process, or no permission; 2 wrong usage

example: soswap loaded --pid $(pgrep -f shop.js)
`;

/** One image, as /proc/PID/maps shows it. */
interface Mapped {
  readonly name: string;
  /** `copy`: mapped from memory that no name leads to. `gone`: its file was replaced or removed. */
  readonly kind: 'copy' | 'gone';
  readonly path: string | null;
  readonly inode: bigint;
  readonly buildId: string | null;
  readonly base: bigint;
  /** Bytes of address space. */
  readonly memorySize: number;
}

export async function run(args: string[]): Promise<void> {
  const given = readArguments(args, usage, [], {
    pid: { type: 'string' },
    json: { type: 'boolean', default: false },
  });
  if (given === undefined) return;
  const pid = wholeNumber('pid', given.values.pid, undefined);
  if (pid === undefined) {
    throw new UsageError('--pid is missing; a program sees its own images with loaded()');
  }
  const images = imagesOf(pid);
  process.stdout.write(given.values.json ? toJson(images, 2) : describe(pid, images));
}

function describe(pid: number, images: readonly Mapped[]): string {
  if (images.length === 0) {
    return `process ${pid} maps no private copies, and no library whose file is gone\n`;
  }
  const rows = images.map(({ name, kind, path, inode, buildId, base, memorySize }) => [
    path ?? name,
    kind === 'copy' ? 'private copy' : yellow('file replaced or removed'),
    `${inode}`,
    buildId?.slice(0, 8) ?? '',
    `0x${base.toString(16)}`,
    memorySize.toLocaleString('en'),
  ]);
  return table(['library', 'mapped from', 'inode', 'build id', 'base', 'bytes'], rows);
}

// "start-end perms offset major:minor inode   path (deleted)", proc(5).
const line = /^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ (\d+) +(\/.*) \(deleted\)$/;

function imagesOf(pid: number): Mapped[] {
  const descriptors = descriptorsOf(pid);
  return stretchesOf(readMaps(pid))
    .filter(({ code }) => code)
    .map(({ start, end, path, inode }) => {
      const copy = path.startsWith('/memfd:');
      return {
        name: copy ? path.slice('/memfd:'.length) : basename(path),
        kind: copy ? 'copy' : 'gone',
        path: copy ? null : path,
        inode: BigInt(inode),
        buildId: buildIdAt(descriptors.get(inode)),
        base: start,
        memorySize: Number(end - start),
      };
    });
}

interface Stretch {
  readonly start: bigint;
  end: bigint;
  /** Some of it can be executed. */
  code: boolean;
  readonly path: string;
  readonly inode: string;
}

/** The same file may be mapped more than once; an image begins where the file does. */
function stretchesOf(maps: string): Stretch[] {
  const stretches: Stretch[] = [];
  for (const text of maps.split('\n')) {
    const [, from, to, permissions = '', offset = '', inode = '', path = ''] =
      line.exec(text) ?? [];
    if (from === undefined || to === undefined) continue;
    const start = BigInt(`0x${from}`);
    const end = BigInt(`0x${to}`);
    const code = permissions.includes('x');
    const last = stretches.at(-1);
    if (last === undefined || last.inode !== inode || Number.parseInt(offset, 16) === 0) {
      stretches.push({ start, end, code, path, inode });
    } else {
      last.end = end;
      last.code ||= code;
    }
  }
  return stretches;
}

function readMaps(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/maps`, 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') {
      throw new Error(`there is no process ${pid}`, { cause });
    }
    const why =
      code === 'EACCES' ? 'it is another user’s; run this as that user or as root' : message;
    throw new Error(`cannot look into process ${pid}: ${why}`, { cause });
  }
}

/** The open files of a process by inode number. */
function descriptorsOf(pid: number): Map<string, string> {
  const directory = `/proc/${pid}/fd`;
  const found = new Map<string, string>();
  try {
    for (const name of readdirSync(directory)) {
      const path = `${directory}/${name}`;
      const status = statSync(path, { bigint: true, throwIfNoEntry: false });
      if (status?.isFile()) found.set(`${status.ino}`, path);
    }
  } catch {
    // Without them there are no build ids.
  }
  return found;
}

function buildIdAt(path: string | undefined): string | null {
  if (path === undefined) return null;
  try {
    const candidate = Candidate.adopt(plainSource(path, { allowWriter: true }), path);
    candidate.release();
    return candidate.facts.buildId;
  } catch {
    return null; // it is no library
  }
}
