import { basename } from 'node:path';
import { SoError } from '../internal/errors.js';
import { native } from '../native/addon.js';
import type { SwapResult } from './swap-changed.js';

/**
 * Tells the service manager about this process, as sd_notify(3) does: sends the lines to the socket in `$NOTIFY_SOCKET`.
 *
 * @param lines Each `NAME=VALUE`: `READY=1`, say. A line feed in a value becomes a space.
 * @returns Whether they were sent; `false` without `$NOTIFY_SOCKET`. A failure is a warning of the process.
 *
 * @example
 * notifyService('READY=1', 'STATUS=serving'); // at the start of a service of Type=notify or notify-reload
 */
export function notifyService(...lines: string[]): boolean {
  const { NOTIFY_SOCKET: socket } = process.env;
  if (!socket) return false;
  const text = lines.map((line) => line.replaceAll(/\s*[\r\n]\s*/g, ' ')).join('\n');
  const errno = native.notify(socket, text);
  if (errno === 0) return true;
  const message = `cannot notify the service manager at '${socket}'`;
  process.emitWarning(
    new SoError('ERR_SOSWAP_SYSTEM', message, socket, undefined, { errno: -errno }),
  );
  return false;
}

/** The beginning of a reload, for Type=notify-reload of systemd.service(5). */
export function notifyReloading(): void {
  notifyService('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
}

/** Its end. */
export function notifyReloaded(results: readonly SwapResult[]): void {
  const refused = results.filter(({ status }) => status === 'refused');
  const told = refused.length > 0 ? refused : results.filter(({ status }) => status === 'swapped');
  const text = told.map(textOf).join('; ');
  notifyService('READY=1', `STATUS=${text === '' ? 'no library has changed' : text}`);
}

function textOf(result: SwapResult): string {
  const name = basename(result.handle.path);
  if (result.status === 'refused') return `${name} was refused: ${result.error.message}`;
  return `${name} runs generation ${result.handle.generation}`;
}
