/** Which image a handle runs, and where it came from. */
export interface ImageInfo {
  /** 1 for the first image of a handle, 2 after its first swap, and so on. */
  readonly generation: number;
  /** The file that the image was taken from, as stat(2) told it then. */
  readonly device: bigint;
  readonly inode: bigint;
  /** Bytes. */
  readonly size: number;
  /** Nanoseconds since 1970. */
  readonly mtimeNs: bigint;
  /** The linker's build id in hexadecimal digits, `null` if the file has none. */
  readonly buildId: string | null;
  /** Address that the image is loaded at. */
  readonly base: bigint;
  /** What the loader mapped: the path itself, or the name of the private copy. */
  readonly mappedFrom: string;
}

/** Why an old image is still mapped. */
export interface RetainReason {
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

/** `close-first`: the old image is closed, then the new one is opened. `open-first`: both live for a moment. */
export type SwapOrder = 'close-first' | 'open-first';

/** What a swap did. */
export interface SwapReport {
  readonly path: string;
  /** The generation that runs now. */
  readonly generation: number;
  readonly order: SwapOrder;
  readonly previous: ImageInfo;
  readonly current: ImageInfo;
  /** Whether the old image is gone from the process: looked for, not assumed. */
  readonly unmapped: boolean;
  /** Why it is not; empty if it is. */
  readonly retained: readonly RetainReason[];
  /** Optional symbols that the new image lacks: their functions throw until one has them again. */
  readonly missing: readonly string[];
  /** Time that the JavaScript thread was held for close, open, resolve and commit. */
  readonly pauseMicroseconds: number;
  /** Time from the call of swap to its end. */
  readonly totalMicroseconds: number;
}
