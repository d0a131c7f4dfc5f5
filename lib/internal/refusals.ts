import { channel } from 'node:diagnostics_channel';
import type { EventEmitter } from 'node:events';
import type { SoError } from './errors.js';

/** Every refusal is published here, as `{ handle, error }`. */
export const refusedChannel = channel('soswap:refused');

/** Warns of a refusal that no caller is told of, if nobody listens to it either. */
export function warnIfUnheard(handle: EventEmitter, error: SoError): void {
  const isHeard = handle.listenerCount('refused') > 0 || refusedChannel.hasSubscribers;
  if (!isHeard) process.emitWarning(error);
}
