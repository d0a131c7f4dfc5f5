import { FileWatch } from '../files/file-watch.js';
import { libraryPath } from '../files/library-path.js';
import { Candidate } from '../image/candidate.js';
import { plainSource } from '../image/source.js';
import { SoError } from '../internal/errors.js';
import { longestTimer } from '../internal/options.js';
import { runAsync } from '../internal/steps.js';
import type { SnapshotFacts } from '../native/types.js';
import { readArguments, wholeNumber } from './arguments.js';
import { endWhenInterrupted } from './interrupt.js';
import { toJson } from './json.js';
import { ShellCommand } from './shell-command.js';

const usage = `usage: soswap watch LIB [--exec CMD] [--settle MS] [--json]

Prints a line whenever the library has been replaced and is complete, whatever replaced it, and runs a command.
Nothing is loaded. A file that is being written is waited for. One that is no library is told of on the standard
error and runs nothing.

      --exec CMD    runs 'sh -c CMD' with the path in $SOSWAP_PATH, one at a time; Ctrl-C ends it too
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
  let known = await take(path);

  let command: ShellCommand | undefined;
  endWhenInterrupted(() => command?.end(), longestTimer, ['SIGHUP']);
  const execute = async (text: string) => {
    command = new ShellCommand(text, { ...process.env, SOSWAP_PATH: path });
    const failure = await command.failure();
    command = undefined;
    if (failure !== undefined) complain(`'${text}' failed: ${failure}`);
  };

  const files = new FileWatch(path, { settle, persistent: true }, async () => {
    const last = known;
    try {
      if ((await runAsync(last.fileStatus())) === 'current') return;
      known = await take(path);
      last.release();
    } catch (error) {
      if (isPassing(error)) files.again();
      else complain(error instanceof Error ? error.message : String(error));
      return;
    }
    tell(path, last.facts, known.facts, json);
    if (exec !== undefined) await execute(exec);
  });
  files.again(); // it may have been replaced since the first look
}

/** The file as it is now, if it is a library. */
function take(path: string): Promise<Candidate> {
  return runAsync(Candidate.take(plainSource(path)));
}

function tell(path: string, before: SnapshotFacts, now: SnapshotFacts, json: boolean): void {
  const { device, inode, size, mtimeNs, buildId } = now;
  const line =
    `replaced: ${path}, inode ${before.inode} → ${inode}, ${size} bytes, ` +
    `build ${buildId ?? 'none'}\n`;
  process.stdout.write(json ? toJson({ path, device, inode, size, mtimeNs, buildId }) : line);
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
