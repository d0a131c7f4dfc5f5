/**
 * The child process of quarantine.ts: loads the snapshot that it inherits as descriptor 3, unloads it, and
 * ends. Whatever kills it has told what there is to tell.
 *
 * @module
 */

import { Candidate } from './candidate.js';
import { native } from './native.js';

const [path = '', mode = ''] = process.argv.slice(2);
try {
  const edits = { demoteUnique: false, clearNoDelete: false, symbolic: false };
  const loading = { mode: Number(mode), direct: false, edits };
  const candidate = Candidate.adopt('/proc/self/fd/3', path, new native.Library(), loading);
  candidate.endTrial(candidate.try());
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
