/**
 * The child process of quarantine.ts: loads the snapshot that it inherits as descriptor 3, unloads it, and writes to
 * descriptor 4 how that went. If the library ends the process first, the parent judges by its exit status. Imports nothing
 * outside the package, so that it runs without the loaders of the program.
 *
 * @module
 */

import { writeSync } from 'node:fs';

writeSync(4, '+'); // this is a Node.js
const [copies = '', parent = '', thread = '', seconds = '', addon = ''] = process.argv.slice(2);
writeSync(4, await outcome());

async function outcome(): Promise<string> {
  if (process.ppid !== Number(parent)) {
    return 'execPath starts Node.js as a process of its own, which must be the child itself';
  }
  // Lets this process import the package: lib/native/quarantine-mark.ts, which it cannot import before.
  Object.assign(globalThis, { [Symbol.for('soswap.quarantine')]: addon });
  try {
    const { tryCandidate } = await import('./trial.js'); // loads the addon
    return tryCandidate(JSON.parse(copies), Number(parent), Number(thread), Number(seconds));
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
