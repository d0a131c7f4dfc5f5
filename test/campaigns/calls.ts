// Random calls against a C oracle, as many as one likes:
//
//   node --allow-natives-syntax --import ./tools/typescript.js test/campaigns/calls.ts [SIGNATURES [SEED]]
//
// Default: 100,000 signatures, called four times each, and a seed of its own. V8 compiles the functions after two calls; without
// --allow-natives-syntax it does as it likes. CC chooses the compiler. Exits with 1 if anything differed.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCampaign } from '../../fixtures/call-oracle.js';

const [signatures = '100000', seed = String(Date.now() % 2 ** 32)] = process.argv.slice(2);
const directory = mkdtempSync(join(tmpdir(), 'soswap-calls-'));
console.log(`seed ${seed}, ${signatures} signatures`);
try {
  const findings = await runCampaign({
    seed: Number(seed),
    signatures: Number(signatures),
    calls: 4,
    directory,
    progress: (done) => done % 10_000 === 0 && console.log(`${done} signatures done`),
  });
  const { differences, ...counts } = findings;
  for (const difference of differences) console.log(difference);
  console.log(counts, `${differences.length} differences`);
  process.exitCode = differences.length > 0 ? 1 : 0;
} finally {
  rmSync(directory, { recursive: true });
}
