type Listener = (path: string) => void;

const listeners = new Set<Listener>();

/** Calls the listener with the path of each handle of this thread that runs a new image, until the returned function is called. */
export function onCommit(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** To be called when the old image has been closed. */
export function announceCommit(path: string): void {
  for (const listener of listeners) listener(path);
}
