/**
 * Calls listeners. What one of them throws becomes an uncaught exception, as it does in the subscribers of
 * diagnostics_channel: it must not look like a failure of what the listeners are told of.
 */
export function throwLater(tell: () => void): void {
  try {
    tell();
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}
