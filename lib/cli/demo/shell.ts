import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Runs a command to its end; what it says on the standard error is in the error if it fails. */
export async function run(cwd: string, command: string, ...args: string[]): Promise<void> {
  try {
    await execute(command, args, { cwd });
  } catch (cause) {
    const { message, stderr = '' } = cause as Error & { stderr?: string };
    throw new Error(stderr.trim() || message, { cause });
  }
}

export function shell(cwd: string, commands: string): Promise<void> {
  return run(cwd, 'sh', '-e', '-c', commands);
}
