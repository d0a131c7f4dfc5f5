import type { Candidate } from './candidate.js';
import type { RetainReason } from './report.js';

/** Why the loader would not unmap an image, as far as its file tells. */
export function retainReasons({ snapshot }: Candidate): RetainReason[] {
  const reasons: RetainReason[] = [];
  if (snapshot.noDelete) {
    reasons.push({ code: 'nodelete', detail: 'it is linked with -z nodelete' });
  }
  if (reasons.length === 0) {
    reasons.push({
      code: 'unknown',
      detail: 'the loader keeps it, and the file does not tell why',
    });
  }
  return reasons;
}
