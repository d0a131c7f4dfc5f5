/**
 * The child process of quarantine.ts: loads the snapshots that it inherits as in the swap, and writes to a descriptor how
 * that went. If a library ends the process first, the parent judges by its exit status. Imports nothing outside the
 * package, so that it runs without the loaders of the program.
 *
 * @module
 */

import { writeSync } from 'node:fs';
import type { Trial } from './trial-request.js';

const report: typeof import('./trial-request.js').reportDescriptor = 3;

writeSync(report, '+'); // this is a Node.js
const [addon = '', text = '{}'] = process.argv.slice(2);
writeSync(report, await outcome(JSON.parse(text)));

async function outcome(trial: Trial): Promise<string> {
  if (process.ppid !== trial.parent) {
    return 'execPath starts Node.js as a process of its own, which must be the child itself';
  }
  // Lets this process import the package: lib/native/quarantine-mark.ts, which it cannot import before.
  Object.assign(globalThis, { [Symbol.for('soswap.quarantine')]: addon });
  try {
    const { rehearse } = await import('./trial.js'); // loads the addon
    return rehearse(trial);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
