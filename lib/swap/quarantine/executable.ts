/**
 * Says why the executable of this process cannot run another program than its own; `undefined` if it is a Node.js, as far
 * as this process can know. The trial itself shows the rest.
 */
export function whyNotNode(): string | undefined {
  const { versions, env } = process;
  if (process.getBuiltinModule('node:sea')?.isSea?.()) {
    return 'this process is a single executable application';
  }
  if ('pkg' in process) return 'this process is a program of pkg';
  if ('nw' in versions) return 'this process is NW.js';
  if ('electron' in versions && !env.ELECTRON_RUN_AS_NODE) return 'this process is Electron';
  return undefined;
}

/** The way out, for messages. */
export const anotherNode =
  'the option quarantine: { execPath, execArgv } names a Node.js that can run the child process';
