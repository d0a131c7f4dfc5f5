import { writeSync } from 'node:fs';
import { Candidate } from '../../image/candidate.js';
import type { Image } from '../../image/image.js';
import type { UnloadPolicy } from '../../image/image-info.js';
import { neededEdits, plainSource } from '../../image/source.js';
import { dlopenFlags } from '../../internal/dlopen-flags.js';
import { native } from '../../native/addon.js';
import { type RunningImage, runningIsLoaded, type Trial } from './trial-request.js';

/** Loads and unmaps in the order of the swap, and returns `loaded`. The candidate is unmapped last. */
export function rehearse(trial: Trial): string {
  const { mode, parent, thread, seconds, order, unload, running } = trial;
  native.dieWithParent(parent, thread, seconds);
  native.leaveNoCore();
  const candidate = adopt(trial, 3, mode);
  const previous = running && openRunning(trial, running);
  writeSync(4, runningIsLoaded);
  if (order === 'close-first') previous?.retire(unload);
  const next = opened(candidate, 2);
  if (order === 'open-first') previous?.retire(unload);
  next.retire('auto');
  return 'loaded';
}

interface Opened {
  retire(unload: UnloadPolicy): void;
}

/** `null` if the loader refuses it: its dependencies may have been replaced with the library. */
function openRunning(trial: Trial, { mode, staying }: RunningImage): Opened | null {
  let previous: Opened;
  try {
    previous = opened(adopt(trial, 5, mode), 1);
  } catch {
    return null;
  }
  for (const path of staying) {
    try {
      native.dlopen(path, dlopenFlags.RTLD_LAZY | dlopenFlags.RTLD_NOLOAD);
    } catch {
      // This process has not loaded it.
    }
  }
  return previous;
}

function opened(candidate: Candidate, generation: number): Opened {
  const image: Image = candidate.newImage();
  candidate.open(image, generation);
  return { retire: (unload) => candidate.retire(image, unload) };
}

/** The parent has its copy open, and that copy is bound to functions of the parent. */
function adopt({ path, unload }: Trial, descriptor: number, mode: number): Candidate {
  const edits = [...neededEdits, 'bind-imports'] as const;
  const ownFirst = (mode & dlopenFlags.RTLD_DEEPBIND) !== 0;
  const source = plainSource(path, { allowWriter: true, ownFirst, edits });
  return Candidate.adopt({ ...source, mode, unload }, `/proc/self/fd/${descriptor}`);
}
