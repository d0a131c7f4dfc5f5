import { FileWatch } from '../files/file-watch.js';
import { libraryPath } from '../files/library-path.js';
import { Candidate } from '../image/candidate.js';
import { plainSource } from '../image/source.js';
import { SoError } from '../internal/errors.js';
import { withJson } from '../internal/json.js';
import { longestTimer } from '../internal/options.js';
import { runAsync } from '../internal/steps.js';
import type { SnapshotFacts } from '../native/types.js';
import { libraryOperand, readArguments, wholeNumber } from './arguments.js';
import { exitOnSignal } from './exit-on-signal.js';
import { ShellCommand } from './shell-command.js';

const usage = `usage: soswap watch LIB [--exec CMD] [--settle MS] [--poll MS] [--json]

Prints a line and runs a command after each complete replacement of a library, without loading it. Waits while the
file is being written. If the new file is not a library, prints an error and does not run the command.

      --exec CMD    command for 'sh -c', with the path in $SOSWAP_PATH. One command runs at a time; Ctrl-C ends it
      --settle MS   milliseconds for which the file must stay unchanged. Defaults to 50
      --poll MS     milliseconds between two comparisons of the file, for file systems without events. Defaults to
                    1000 on file systems known for that, and to no comparisons elsewhere
      --json        output of one JSON object per line. 64-bit integers are strings
  -h, --help        this help

exit codes: 1 LIB is not a library at the start; 2 wrong usage; 130 Ctrl-C

example: soswap watch ./libprice.so --exec 'systemctl reload shop'
`;

export async function run(args: string[]): Promise<void> {
  const parsed = readArguments(args, usage, ['LIB'], {
    exec: { type: 'string' },
    settle: { type: 'string' },
    poll: { type: 'string' },
    json: { type: 'boolean', default: false },
  });
  if (parsed === undefined) return;
  const { exec, json } = parsed.values;
  const settle = wholeNumber('settle', parsed.values.settle, 50);
  const poll = wholeNumber('poll', parsed.values.poll, undefined, 1);
  const path = libraryPath(libraryOperand(parsed.operands[0]));
  let known = await take(path);

  let command: ShellCommand | undefined;
  exitOnSignal(() => command?.stop(), longestTimer, ['SIGHUP']);
  const execute = async (text: string) => {
    command = new ShellCommand(text, { ...process.env, SOSWAP_PATH: path });
    const failure = await command.failure();
    command = undefined;
    if (failure !== undefined) printError(`'${text}' failed: ${failure}`);
  };

  const files = new FileWatch(
    path,
    { settle, ...(poll && { poll }), persistent: true },
    async () => {
      const last = known;
      try {
        if ((await runAsync(last.file.status())) === 'current') return;
        known = await take(path);
        last.release();
      } catch (error) {
        if (isTemporary(error)) files.retry();
        else if (!isTruncated(error) || !files.retryWhenDone())
          printError(error instanceof Error ? error.message : String(error));
        return;
      }
      printReplacement(path, last.facts, known.facts, json);
      if (exec !== undefined) await execute(exec);
    },
  );
  files.retry(); // the file may have changed since take() above
}

/** Takes a candidate from the file. Rejects with a SoError if the file is not a library. */
function take(path: string): Promise<Candidate> {
  return runAsync(Candidate.take(plainSource(path)));
}

function printReplacement(
  path: string,
  before: SnapshotFacts,
  { device, inode, size, mtimeNs, buildId }: SnapshotFacts,
  json: boolean,
): void {
  const line = json
    ? JSON.stringify(withJson({ path, device, inode, size, mtimeNs, buildId }))
    : `replaced: ${path}, inode ${before.inode} → ${inode}, ${size} bytes, build ${buildId ?? 'none'}`;
  process.stdout.write(`${line}\n`);
}

/** Checks whether a writer has the file open, or the file is missing for a moment. */
function isTemporary(error: unknown): boolean {
  return (
    error instanceof SoError &&
    (error.code === 'ERR_SOSWAP_BEING_WRITTEN' || error.code === 'ERR_SOSWAP_NOT_FOUND')
  );
}

/** Checks whether the file lacks its end, which a writer may still add. */
function isTruncated(error: unknown): boolean {
  return error instanceof SoError && error.code === 'ERR_SOSWAP_TRUNCATED';
}

function printError(message: string): void {
  process.stderr.write(`soswap: ${message}\n`);
}
