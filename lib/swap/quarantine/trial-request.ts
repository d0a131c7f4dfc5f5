import type { UnloadPolicy } from '../../image/image-info.js';
import type { SwapOrder } from '../report.js';

/** What the child process does. */
export interface Trial {
  /** The process and the thread with which this process ends. */
  readonly parent: number;
  readonly thread: number;
  /** After so many seconds this process ends in any case. */
  readonly seconds: number;
  readonly order: SwapOrder;
  readonly unload: UnloadPolicy;
  /** The copies that it inherits. */
  readonly copies: readonly TriedCopy[];
  /** The places in `copies` of the candidate and of what it is bound to: each after what it needs. */
  readonly candidate: readonly number[];
  /** `null`: no image runs, or its loading ended another child process. */
  readonly running: RunningImage | null;
}

/** The copy of a library in the child process. */
export interface TriedCopy {
  readonly path: string;
  /** The flags of dlopen(3). */
  readonly mode: number;
  /** Those that provide its dependencies, by their places in the list, and the names in the copy. */
  readonly provided: readonly (readonly [name: string, place: number])[];
}

/** The running image. */
export interface RunningImage {
  /** The places of its copy, and of those that it is bound to. */
  readonly places: readonly number[];
  /** Paths of dependencies that stay loaded when the image is closed, because others hold them. */
  readonly staying: readonly string[];
}

/** The descriptor that the child writes its report to. */
export const reportDescriptor = 3;

/** The descriptor of the first copy; those of the others follow. */
export const firstCopyDescriptor = 4;

/** What the child writes when it has loaded the running image, or could not. */
export const runningIsLoaded = '.';
