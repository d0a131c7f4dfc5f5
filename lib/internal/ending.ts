/** The end of something, for those who wait for what comes no more after it. */
export class Ending {
  readonly #listeners = new Set<() => void>();
  #hasCome = false;

  get hasCome(): boolean {
    return this.#hasCome;
  }

  /** Calls `listener` when it comes, if it has not. Returns what takes that back. */
  listen(listener: () => void): () => void {
    if (!this.#hasCome) this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  come(): void {
    this.#hasCome = true;
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
  }
}
