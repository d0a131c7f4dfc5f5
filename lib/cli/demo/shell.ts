import { spawnSync } from 'node:child_process';

// The calls are synchronous, so that a signal ends the demo only after the command, when nothing uses the temporary
// directory any more.

/** Runs a command to its end. If it fails, throws an error with the text of its standard error. */
export function run(cwd: string, command: string, ...args: string[]): void {
  const { error, status, signal, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (error !== undefined) throw error;
  if (status === 0) return;
  throw new Error(stderr.trim() || `'${command}' failed: ${signal ?? `exit code ${status}`}`);
}

/** Runs shell commands until one of them fails. */
export function shell(cwd: string, commands: string): void {
  run(cwd, 'sh', '-e', '-c', commands);
}
