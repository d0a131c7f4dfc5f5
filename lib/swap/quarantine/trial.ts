import { Candidate } from '../../image/candidate.js';
import { neededEdits, plainSource } from '../../image/source.js';
import { dlopenFlags } from '../../internal/dlopen-flags.js';
import { native } from '../../native/addon.js';

/**
 * Loads the snapshot behind descriptor 3, unloads it and returns `loaded`. The process ends with the thread `thread` of
 * its parent, and after `seconds`, at the latest.
 */
export function tryCandidate(
  path: string,
  mode: number,
  parent: number,
  thread: number,
  seconds: number,
): string {
  native.dieWithParent(parent, thread, seconds);
  native.leaveNoCore();
  // The parent has its copy open, and that copy is bound to functions of the parent.
  const edits = [...neededEdits, 'bind-imports'] as const;
  const ownFirst = (mode & dlopenFlags.RTLD_DEEPBIND) !== 0;
  const copy = { allowWriter: true, ownFirst, edits };
  const source = { ...plainSource(path, copy), mode };
  const candidate = Candidate.adopt(source, '/proc/self/fd/3');
  const image = candidate.openTrial();
  if (candidate.hazards.length === 0) image.close(false);
  return 'loaded';
}
