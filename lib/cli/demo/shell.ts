import { spawnSync } from 'node:child_process';

// Nothing else happens in this process meanwhile: a signal that ends the demo is handled when the command is
// done, and the directory that it works in can be removed.

/** Runs a command to its end; what it says on the standard error is the message if it fails. */
export function run(cwd: string, command: string, ...args: string[]): void {
  const { error, status, signal, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (error !== undefined) throw error;
  if (status === 0) return;
  throw new Error(stderr.trim() || `'${command}' failed: ${signal ?? `exit code ${status}`}`);
}

export function shell(cwd: string, commands: string): void {
  run(cwd, 'sh', '-e', '-c', commands);
}
