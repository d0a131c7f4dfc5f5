/**
 * The child process of quarantine.ts: loads the snapshot that it inherits as descriptor 3, unloads it, and writes to
 * descriptor 4 how that went. If the library ends the process first, the parent judges by its exit status.
 *
 * @module
 */

import { writeSync } from 'node:fs';
import { Candidate } from '../../image/candidate.js';
import { neededEdits, plainSource } from '../../image/source.js';
import { dlopenFlags } from '../../internal/dlopen-flags.js';
import { native } from '../../native/addon.js';

const [path = '', mode = '', parent = '', seconds = ''] = process.argv.slice(2);
native.dieWithParent(Number(parent), Number(seconds));
native.leaveNoCore();
try {
  // The parent has its copy open, and that copy is bound to functions of the parent.
  const edits = [...neededEdits, 'bind-imports'] as const;
  const ownFirst = (Number(mode) & dlopenFlags.RTLD_DEEPBIND) !== 0;
  const copy = { allowWriter: true, ownFirst, edits };
  const source = { ...plainSource(path, copy), mode: Number(mode) };
  const candidate = Candidate.adopt(source, '/proc/self/fd/3');
  const image = candidate.openTrial();
  if (candidate.hazards.length === 0) image.close(false);
  writeSync(4, 'loaded');
} catch (error) {
  writeSync(4, error instanceof Error ? error.message : String(error));
}
