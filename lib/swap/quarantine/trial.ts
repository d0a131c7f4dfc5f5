import { writeSync } from 'node:fs';
import type { UnloadPolicy } from '../../image/image-info.js';
import { dlopenFlags } from '../../internal/dlopen-flags.js';
import { native } from '../../native/addon.js';
import type { HandedOver } from '../../native/types.js';
import {
  type RunningImage,
  reportDescriptor,
  runningIsLoaded,
  type Trial,
} from './trial-request.js';
import { type AdoptedCopy, adoptCopies } from './tried-copies.js';

/** Loads and unmaps in the order of the swap, and returns `loaded`. The candidate is unmapped last. */
export function rehearse(trial: Trial): string {
  const { parent, thread, seconds, order, unload, running } = trial;
  native.dieWithParent(parent, thread, seconds);
  native.leaveNoCore();
  const copies = adoptCopies(trial.copies, unload);
  const at = (places: readonly number[]) => places.map((place) => copies[place] as AdoptedCopy);
  const next = at(trial.candidate);
  const all = running === null ? [] : at(running.places);
  const previous = all.filter((copy) => !next.includes(copy)); // what both are bound to stays
  if (running !== null) openRunning(all, previous, running);
  writeSync(reportDescriptor, runningIsLoaded);
  const saved = new Map(previous.map(({ candidate, image }) => [candidate.path, image.save()]));
  if (order === 'close-first') retire(previous, unload);
  open(next, 2, saved);
  if (order === 'open-first') retire(previous, unload);
  retire(next, 'auto');
  return 'loaded';
}

/** Leaves none of `previous` open if the loader refuses one: dependencies may have been replaced with the library. */
function openRunning(
  all: readonly AdoptedCopy[],
  previous: readonly AdoptedCopy[],
  { staying }: RunningImage,
): void {
  try {
    open(all, 1);
  } catch {
    retire(previous, 'auto');
    return;
  }
  for (const path of staying) {
    try {
      native.dlopen(path, dlopenFlags.RTLD_LAZY | dlopenFlags.RTLD_NOLOAD);
    } catch {
      // This process has not loaded it.
    }
  }
}

/** @param saved What the images before them left, by path. */
function open(
  copies: readonly AdoptedCopy[],
  generation: number,
  saved?: ReadonlyMap<string, HandedOver | undefined>,
): void {
  for (const { candidate, image } of copies) {
    if (image.isOpen) continue;
    candidate.open(image, generation);
    image.load(saved?.get(candidate.path));
  }
}

function retire(copies: readonly AdoptedCopy[], unload: UnloadPolicy): void {
  for (const { candidate, image } of copies.toReversed()) candidate.retire(image, unload);
}
