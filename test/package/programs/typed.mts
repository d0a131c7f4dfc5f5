// The same as module.mjs in TypeScript: functions are typed from their definitions.

import assert from 'node:assert';
import { copyFileSync } from 'node:fs';
import { SoError, SoHandle, type SwapReport } from 'soswap';

const [, , builds] = process.argv;
copyFileSync(`${builds}/one.so`, './library.so');
const library = SoHandle.open('./library.so', {
  quote: { arguments: ['float64', 'uint32'], return: 'float64' },
  version: { return: 'string', nonblocking: true },
});
const price: number = library.functions.quote(101.5, 2);
assert.equal(price, 203);
// @ts-expect-error: a string is no number
assert.throws(() => library.functions.quote('101.5', 2), { code: 'ERR_INVALID_ARG_VALUE' });

copyFileSync(`${builds}/two.so`, './library.so');
const report: SwapReport = await library.swap();
assert.equal(report.generation, 2);
const version: string | null = await library.functions.version();
assert.equal(version, 'build 2222');

copyFileSync('package.json', './library.so');
await assert.rejects(library.swap(), (error) => {
  return error instanceof SoError && error.code === 'ERR_SOSWAP_NOT_ELF';
});
library.close();
