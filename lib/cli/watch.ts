import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Candidate, plainSource } from '../candidate.js';
import { SoError } from '../errors.js';
import { FileWatch } from '../file-watch.js';
import { libraryPath } from '../library-path.js';
import type { SnapshotFacts } from '../native.js';
import { readArguments, wholeNumber } from './arguments.js';
import { endWhenInterrupted } from './interrupt.js';
import { toJson } from './json.js';

const usage = `usage: soswap watch LIB [--exec CMD] [--settle MS] [--json]

Prints a line whenever the library has been replaced and is complete, whatever replaced it, and runs a command.
Nothing is loaded. A file that is being written is waited for. One that is no library is told of on the standard
error and runs nothing.

      --exec CMD    runs 'sh -c CMD' with the path in $SOSWAP_PATH, one at a time
      --settle MS   milliseconds for which the file must have been left alone; default 50
      --json        one JSON object in each line; 64-bit integers are strings
  -h, --help        prints this

exit codes: 1 there is no such library at the start; 2 wrong usage; 130 Ctrl-C

example: soswap watch ./libprice.so --exec 'systemctl reload shop'
`;

export async function run(args: string[]): Promise<void> {
  const given = readArguments(args, usage, ['LIB'], {
    exec: { type: 'string' },
    settle: { type: 'string' },
    json: { type: 'boolean', default: false },
  });
  if (given === undefined) return;
  const { exec, json } = given.values;
  const settle = wholeNumber('settle', given.values.settle, 50);
  const path = libraryPath(given.operands[0]);
  let known = await look(path);

  let child: ChildProcess | undefined;
  endWhenInterrupted(
    () => undefined,
    () => child?.kill(),
  );
  const runCommand = async () => {
    if (exec === undefined) return;
    const env = { ...process.env, SOSWAP_PATH: path };
    child = spawn('sh', ['-c', exec], { stdio: ['ignore', 'inherit', 'inherit'], env });
    const [code, signal] = await once(child, 'close');
    child = undefined;
    if (code !== 0) complain(`'${exec}' failed: ${signal ?? `exit code ${code}`}`);
  };

  const files = new FileWatch(path, { settle, persistent: true }, async () => {
    let now: SnapshotFacts;
    try {
      now = await look(path);
    } catch (error) {
      if (isPassing(error)) files.again();
      else complain(error instanceof Error ? error.message : String(error));
      return;
    }
    if (sameFile(known, now)) return;
    const { id: _, descriptor: __, staysMapped: ___, ...facts } = now;
    const inodes = `inode ${known.inode} → ${now.inode}`;
    const line = `replaced: ${path}, ${inodes}, ${now.size} bytes, build ${now.buildId ?? 'none'}\n`;
    process.stdout.write(json ? toJson({ path, ...facts }) : line);
    known = now;
    await runCommand();
  });
  files.again(); // it may have been replaced since the first look
}

/** What the file is now, if it is a library. */
async function look(path: string): Promise<SnapshotFacts> {
  const candidate = await Candidate.takeAsync(plainSource(path));
  candidate.release();
  return candidate.facts;
}

function sameFile(one: SnapshotFacts, other: SnapshotFacts): boolean {
  const identity = ({ device, inode, size, mtimeNs, ctimeNs }: SnapshotFacts) =>
    [device, inode, size, mtimeNs, ctimeNs].join();
  return identity(one) === identity(other);
}

/** It is being written, or has just gone. */
function isPassing(error: unknown): boolean {
  return (
    error instanceof SoError &&
    (error.code === 'ERR_SOSWAP_BEING_WRITTEN' || error.code === 'ERR_SOSWAP_NOT_FOUND')
  );
}

function complain(message: string): void {
  process.stderr.write(`soswap: ${message}\n`);
}
