import type { Candidate } from '../../image/candidate.js';
import type { Image } from '../../image/image.js';
import { native } from '../../native/addon.js';
import { adoptCopies, type TriedCopy } from './provided.js';

/**
 * Loads the snapshot behind descriptor 3 with those that it is bound to, unloads them and returns `loaded`. The process
 * ends with the thread `thread` of its parent, and after `seconds`, at the latest.
 */
export function tryCandidate(
  copies: readonly TriedCopy[],
  parent: number,
  thread: number,
  seconds: number,
): string {
  native.dieWithParent(parent, thread, seconds);
  native.leaveNoCore();
  const candidate = adoptCopies(copies, 3);
  const standIns = new Map<Candidate, Image>();
  const image = candidate.openTrial(standIns);
  for (const [opened, each] of [...standIns, [candidate, image] as const].reverse()) {
    if (opened.hazards.length === 0) each.close(false);
  }
  return 'loaded';
}
