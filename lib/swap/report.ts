/** Which image a handle runs, and where it came from. All of the file is as stat(2) told it when it was copied. */
export interface ImageInfo {
  /** 1 for the first image of a handle, 2 after its first swap, and so on. */
  readonly generation: number;
  /** The number of the device that the file is on. */
  readonly device: bigint;
  /** The inode number of the file. It may be given to another file as soon as this one is removed. */
  readonly inode: bigint;
  /** Size of the file in bytes. */
  readonly size: number;
  /** When the file was last written, in nanoseconds since 1970. */
  readonly mtimeNs: bigint;
  /** The linker's build id in hexadecimal digits, `null` if the file has none. */
  readonly buildId: string | null;
  /** Address that the image is loaded at: the difference between its addresses and those in the file. */
  readonly base: bigint;
  /** What the loader mapped: the path itself, or the name of the private copy. */
  readonly mappedFrom: string;
}

/** Why an old image is still mapped. */
export interface RetainReason {
  /**
   * - `nodelete`: the library is linked with `-z nodelete`, or is Go
   * - `unique-symbol`: a symbol of it is bound as STB_GNU_UNIQUE
   * - `thread-local-destructor`: a thread has used a `thread_local` with a destructor, and has not ended
   * - `needed-by`: another loaded object depends on it
   * - `opened-elsewhere`: something else in the process has the same image open
   * - `may-run-threads`: a thread may still run code of it, or will when it ends
   * - `libc-never-unmaps`: dlclose(3) of musl does nothing
   * - `kept`: `unload: 'never'` asked for it
   * - `unknown`: the loader kept it and does not tell why
   */
  readonly code:
    | 'nodelete'
    | 'unique-symbol'
    | 'thread-local-destructor'
    | 'needed-by'
    | 'opened-elsewhere'
    | 'may-run-threads'
    | 'libc-never-unmaps'
    | 'kept'
    | 'unknown';
  /** One sentence for people. */
  readonly detail: string;
}

/**
 * `close-first`: calls in flight are waited for, the old image is closed, then the new one is opened. Unless the
 * old one must stay mapped, only one is loaded at a time: what its constructors take hold of is free for the next.
 *
 * `open-first`: the new image is opened and takes all calls at once; the old one is closed when its last call has
 * returned. Nothing has to wait, and a loader that refuses the new image has changed nothing; both live for a moment.
 */
export type SwapOrder = 'close-first' | 'open-first';

/** What a swap did. */
export interface SwapReport {
  /** The path of the handle. */
  readonly path: string;
  /** The generation that runs now. */
  readonly generation: number;
  /** The order that the swap was made in. */
  readonly order: SwapOrder;
  /** The image that ran before. */
  readonly previous: ImageInfo;
  /** The image that runs now. */
  readonly current: ImageInfo;
  /** Whether the old image is gone from the process: looked for, not assumed. */
  readonly unmapped: boolean;
  /** Why the old image is not gone; empty if it is. */
  readonly retained: readonly RetainReason[];
  /** Optional symbols that the new image lacks: their functions throw `ERR_SOSWAP_MISSING_SYMBOL` until one has them again. */
  readonly missing: readonly string[];
  /**
   * Microseconds that the JavaScript thread was held for close, open, resolve and commit; what `open-first` does on
   * another thread is not in it. With `swapSync()` the copy, the checks, `verify` and `quarantine` hold it too, and are in
   * `totalMicroseconds` only.
   */
  readonly pauseMicroseconds: number;
  /** Microseconds from the call of `swap()` to its end, with all that it waited for. */
  readonly totalMicroseconds: number;
}
