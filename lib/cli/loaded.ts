import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { styleText } from 'node:util';
import { Candidate } from '../image/candidate.js';
import { plainSource } from '../image/source.js';
import { withJson } from '../internal/json.js';
import { readArguments, wholeNumber } from './arguments.js';
import { table } from './table.js';
import { UsageError } from './usage-error.js';

const usage = `usage: soswap loaded --pid PID [--json]

Lists the snapshots that another process maps, and its libraries whose files were replaced or removed after loading.
The kernel reports only these. Generations, retained images and in-flight calls are known inside the process: a program
prints them with loadedTable(), for example process.on('SIGUSR2', () => console.error(loadedTable())).

      --pid PID   the process, of the same user unless root runs this command
      --json      output as an array of JSON objects. 64-bit integers are strings
  -h, --help      this help

exit codes: 0 listed, even if the list is empty; 1 no such process, or no permission; 2 wrong usage

example: soswap loaded --pid $(pgrep -f shop.js)
`;

/** One library in /proc/PID/maps, proc(5). */
interface MappedLibrary {
  readonly name: string;
  /** `copy`: mapped from a snapshot. `gone`: its file was replaced or removed. */
  readonly kind: 'copy' | 'gone';
  readonly path: string | null;
  readonly inode: bigint;
  readonly buildId: string | null;
  readonly base: bigint;
  /** Bytes of address space. */
  readonly memorySize: number;
}

export async function run(args: string[]): Promise<void> {
  const parsed = readArguments(args, usage, [], {
    pid: { type: 'string' },
    json: { type: 'boolean', default: false },
  });
  if (parsed === undefined) return;
  const pid = wholeNumber('pid', parsed.values.pid, undefined);
  if (pid === undefined) {
    throw new UsageError('--pid is missing; a program lists its own images with loaded()');
  }
  const libraries = librariesOf(pid);
  const text = parsed.values.json
    ? `${JSON.stringify(libraries.map(withJson), null, 2)}\n`
    : describe(pid, libraries);
  process.stdout.write(text);
}

function describe(pid: number, libraries: readonly MappedLibrary[]): string {
  if (libraries.length === 0) {
    return `process ${pid} maps no snapshots, and no library whose file is gone\n`;
  }
  const rows = libraries.map(({ name, kind, path, inode, buildId, base, memorySize }) => [
    path ?? name,
    kind === 'copy' ? 'snapshot' : styleText('yellow', 'file replaced or removed'),
    `${inode}`,
    buildId?.slice(0, 8) ?? '',
    `0x${base.toString(16)}`,
    memorySize.toLocaleString('en'),
  ]);
  return table(['library', 'mapped from', 'inode', 'build id', 'base', 'bytes'], rows);
}

/** `start-end perms offset major:minor inode   path (deleted)`, proc(5). */
const deletedMapping = /^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ (\d+) +(\/.*) \(deleted\)$/;

function librariesOf(pid: number): MappedLibrary[] {
  const descriptors = descriptorsOf(pid);
  return mappedFiles(readMaps(pid))
    .filter(({ executable }) => executable)
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

interface MappedFile {
  readonly start: bigint;
  end: bigint;
  /** One of its mappings is executable. */
  executable: boolean;
  readonly path: string;
  readonly inode: string;
}

/** Joins the mappings of one image. A mapping of the start of a file begins an image: a file may have several. */
function mappedFiles(maps: string): MappedFile[] {
  const files: MappedFile[] = [];
  for (const text of maps.split('\n')) {
    const [, from, to, permissions = '', offset = '', inode = '', path = ''] =
      deletedMapping.exec(text) ?? [];
    if (from === undefined || to === undefined) continue;
    const start = BigInt(`0x${from}`);
    const end = BigInt(`0x${to}`);
    const executable = permissions.includes('x');
    const last = files.at(-1);
    if (last === undefined || last.inode !== inode || Number.parseInt(offset, 16) === 0) {
      files.push({ start, end, executable, path, inode });
    } else {
      last.end = end;
      last.executable ||= executable;
    }
  }
  return files;
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
      code === 'EACCES' ? 'it belongs to another user; run this as that user or as root' : message;
    throw new Error(`cannot inspect process ${pid}: ${why}`, { cause });
  }
}

/** Returns the paths of the open files of a process in /proc, by inode number. */
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
    // No permission: the list then lacks build ids.
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
    return null; // not a library
  }
}
