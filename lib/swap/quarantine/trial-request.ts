import type { UnloadPolicy } from '../../image/image-info.js';
import type { SwapOrder } from '../report.js';

/** What the child process does. */
export interface Trial {
  /** The path of the library. */
  readonly path: string;
  /** The flags of dlopen(3) for the candidate, whose snapshot is behind descriptor 3. */
  readonly mode: number;
  /** The process and the thread with which this process ends. */
  readonly parent: number;
  readonly thread: number;
  /** After so many seconds this process ends in any case. */
  readonly seconds: number;
  readonly order: SwapOrder;
  readonly unload: UnloadPolicy;
  /** `null`: no image runs, or its loading ended another child process. */
  readonly running: RunningImage | null;
}

/** The running image, whose snapshot is behind descriptor 5. */
export interface RunningImage {
  readonly mode: number;
  /** Paths of dependencies that stay loaded when the image is closed, because others hold them. */
  readonly staying: readonly string[];
}

/** What the child writes when it has loaded the running image, or could not. */
export const runningIsLoaded = '.';
