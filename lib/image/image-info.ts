import type { Json } from '../internal/json.js';

/** The file that an image comes from, as stat(2) reported it when it was copied. */
interface ImageFile {
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
}

/** The image that a prepared swap is about to run: of what is known before it is loaded. */
export interface CandidateInfo extends ImageFile {
  /** Called by JSON.stringify(): the 64-bit fields become strings of decimal digits. */
  readonly toJSON: () => Json<ImageFile>;
}

/** The image that a handle runs, and the file that it came from. */
export interface ImageInfo extends ImageFile {
  /** Address that the image is loaded at: the difference between its addresses and those in the file. */
  readonly base: bigint;
  /** The file that the loader mapped: `snapshot`, a private copy, or with `image: 'direct'` the path of the file. */
  readonly mappedFrom: string;
  /**
   * Bytes of memory that the private copy of the file holds as long as the image is mapped; bytes of disk where the system
   * refuses memory files. 0 with `image: 'direct'`.
   */
  readonly copySize: number;
  /** Called by JSON.stringify(): the 64-bit fields become strings of decimal digits. */
  readonly toJSON: () => Json<Omit<ImageInfo, 'toJSON'>>;
}

/** Why an old image is still mapped. */
export interface RetainReason {
  /**
   * - `nodelete`: the library is linked with `-z nodelete`, or is Go
   * - `unique-symbol`: a symbol of it is bound as STB_GNU_UNIQUE
   * - `thread-local-destructor`: a thread has used a `thread_local` with a destructor, or a key of
   *   pthread_key_create(3), and has not ended
   * - `calls-in-flight`: calls, or its destructors, had not returned when the swap had waited as long as `timeout`
   * - `loader-busy`: a constructor or a destructor of another library runs on another thread, and the loader waits for it
   * - `running-threads`: threads that the library started have not ended
   * - `pending-work`: work that the library handed over, and that will call it back, is not done
   * - `signal-handler`: a signal handler points into it
   * - `exit-handler`: on_exit(3) or at_quick_exit(3) will call it
   * - `needed-by`: another loaded object depends on it
   * - `bound-by`: another loaded object is bound to a symbol of it, or holds another address of it
   * - `opened-elsewhere`: something else in the process has the same image open
   * - `may-run-threads`: a thread of a dependency, or one that soswap cannot see, may still run code of it
   * - `libc-never-unmaps`: dlclose(3) of musl does nothing
   * - `c-library`: the library is part of the C library; the process uses it without the handle
   * - `refused-by-library`: its hook soswap_unload refused
   * - `kept`: `unload: 'never'` asked for it
   * - `unknown`: the loader kept it; the reason is unknown
   */
  readonly code:
    | 'nodelete'
    | 'unique-symbol'
    | 'thread-local-destructor'
    | 'needed-by'
    | 'bound-by'
    | 'opened-elsewhere'
    | 'may-run-threads'
    | 'calls-in-flight'
    | 'loader-busy'
    | 'running-threads'
    | 'pending-work'
    | 'signal-handler'
    | 'exit-handler'
    | 'libc-never-unmaps'
    | 'c-library'
    | 'refused-by-library'
    | 'kept'
    | 'unknown';
  /** One sentence for people. */
  readonly detail: string;
}

/** What an image took by functions that it imports itself, and has not given back. */
export interface LeftBehind {
  /** Pieces of memory of malloc(3) and operator new. */
  readonly allocations: number;
  /** Their bytes, as they were asked for. */
  readonly bytes: number;
  /** Descriptors that are still open. */
  readonly descriptors: number;
  /** Mappings of mmap(2). */
  readonly mappings: number;
  /** Their bytes, in whole pages. */
  readonly mappedBytes: number;
}

/** What became of the last image of a handle that was closed. */
export interface CloseResult {
  /** Whether the image is unmapped; checked in the list of loaded objects after dlclose(3). */
  readonly unmapped: boolean;
  /** Why the image is still mapped; empty if it is gone. */
  readonly retained: readonly RetainReason[];
}

/**
 * What becomes of an old image. `auto`: it is unmapped as soon as no code of it can run any more: its threads have ended,
 * and so have the threads for whose end it registered destructors. `always`: it is unmapped in any case.
 * `never`: it stays mapped.
 */
export type UnloadPolicy = 'auto' | 'always' | 'never';
