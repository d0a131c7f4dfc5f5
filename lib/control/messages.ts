import type { SwapOrder } from '../swap/report.js';

/** What one handle runs. */
export interface HandleFacts {
  /** The thread of the handle, as gettid(2) numbers it. */
  readonly thread: number;
  readonly path: string;
  readonly generation: number;
  readonly buildId: string | null;
  /** As `SoHandle.status()`; `closed`, or `not-loaded` after a swap that left no image; the code of an error. */
  readonly status: string;
  /** The generations that it can go back to; the one that it goes back to comes first. */
  readonly history: readonly { readonly generation: number; readonly buildId: string | null }[];
  readonly callsInFlight: number;
  /** A prepared swap waits for its commit. */
  readonly prepared: boolean;
}

/** What became of one handle in a step of a deployment. */
export interface HandleResult {
  readonly thread: number;
  readonly path: string;
  /**
   * `prepared`, `committed`, `rolled-back`: what was asked for was done. `current`: the file has the bytes that run.
   * `refused`: see `error`. `discarded`: another one was refused.
   */
  readonly outcome: 'prepared' | 'committed' | 'rolled-back' | 'current' | 'refused' | 'discarded';
  /** What runs now; of a prepared swap, what would. */
  readonly generation: number;
  readonly buildId: string | null;
  readonly pauseMicroseconds?: number;
  readonly error?: ControlError;
}

/** An error as it travels. */
export interface ControlError {
  readonly code: string;
  readonly message: string;
  /** Of a `SoError`. */
  readonly outcome?: string;
  readonly path?: string;
}

/** The options of a swap that can travel. */
export interface RemoteSwapOptions {
  readonly order?: SwapOrder;
  readonly timeout?: number;
  readonly quarantine?: boolean;
  readonly unload?: 'auto' | 'always' | 'never';
}

/** What a thread is asked to do. */
export type ThreadRequest =
  /** `reads`: files may be read to tell the status. */
  | { readonly action: 'handles'; readonly reads: boolean }
  | {
      readonly action: 'prepare';
      readonly id: string;
      readonly path: string;
      readonly options: RemoteSwapOptions;
      /** Also handles whose file has the bytes that run. */
      readonly force: boolean;
    }
  | { readonly action: 'commit' | 'discard' | 'undo'; readonly id: string }
  | { readonly action: 'rollback'; readonly path: string; readonly options: RemoteSwapOptions };

/** What is told of one library since the socket is served. */
export interface LibraryCounts {
  readonly swaps: number;
  readonly rollbacks: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly pause: Histogram;
  readonly total: Histogram;
}

export interface Histogram {
  /** How many values were at most the bound of the same place in {@link bounds}. */
  readonly buckets: readonly number[];
  readonly count: number;
  readonly sum: number;
}

/** Of a histogram, in seconds. */
export const bounds = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10] as const;

/** What a thread answers. */
export interface ThreadAnswers {
  readonly handles: readonly HandleFacts[];
  readonly results: readonly HandleResult[];
}

/** Something that happened to a handle. */
export interface ControlEvent {
  readonly event: 'swap' | 'refused' | 'rolledback' | 'unmapped';
  readonly thread: number;
  readonly path: string;
  /** As JSON has it: the report of a `swap`, the {@link ControlError} of what was `refused`, the image of an `unmapped`. */
  readonly data: object;
}
