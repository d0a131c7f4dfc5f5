/**
 * The mark of a quarantine's child process and of every process below it: an environment variable. It keeps a quarantine
 * from starting another one, whatever program the executable of the child turns out to run.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { SoError } from '../internal/errors.js';

/** The variable. Its value is the process ID of the process that runs the quarantine. */
export const quarantineMark = 'SOSWAP_QUARANTINE';

/** The program of the child, lib/swap/quarantine/child.ts, sets it before it imports anything of the package. */
const key = Symbol.for('soswap.quarantine');

/** Returns the path of the addon in the program of the child; elsewhere `undefined`. */
export function quarantinedAddon(): string | undefined {
  const addon = (globalThis as Record<symbol, unknown>)[key];
  return typeof addon === 'string' ? addon : undefined;
}

/**
 * Ends this process if a quarantine has started it and it runs another program than that of the child.
 *
 * @throws {SoError} `ERR_SOSWAP_QUARANTINE`: a process of a quarantine has started this process.
 */
export function assertNoQuarantine(path: string): void {
  const mark = process.env[quarantineMark];
  if (mark === undefined || quarantinedAddon() !== undefined) return;
  if (process.ppid === Number(mark)) process.exit(1);
  throw isQuarantined(path);
}

/**
 * Refuses to start a quarantine below another one. Reads the environment that the process began with, because a program
 * may have changed its own, and a worker may have an empty one.
 *
 * @throws {SoError} `ERR_SOSWAP_QUARANTINE`
 */
export function assertMayQuarantine(path: string): void {
  let environment = '';
  try {
    environment = readFileSync('/proc/self/environ', 'latin1');
  } catch {
    // The import has checked the mark.
  }
  if (`\0${environment}`.includes(`\0${quarantineMark}=`)) throw isQuarantined(path);
}

function isQuarantined(path: string): SoError {
  const message = `cannot use '${path}': the quarantine of another process has started this process (${quarantineMark} is set)`;
  return new SoError('ERR_SOSWAP_QUARANTINE', message, path);
}
