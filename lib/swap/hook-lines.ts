import { channel } from 'node:diagnostics_channel';
import { throwLater } from '../internal/events.js';
import { trace } from '../internal/trace.js';
import { native } from '../native/addon.js';

const logChannel = channel('soswap:log');

/** Publishes the lines that hooks of libraries wrote on this thread. */
export function announceHookLines(): void {
  const lines = native.takeHookLines();
  if (lines === null) return;
  for (const [path, generation, text] of lines) {
    trace('%s: generation %d says: %s', path, generation, text);
    throwLater(() => logChannel.publish({ path, generation, text }));
  }
}
