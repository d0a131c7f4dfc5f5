// The same in TypeScript that becomes CommonJS.

import assert = require('node:assert');
import { copyFileSync } from 'node:fs';
import { SoError, SoHandle, type SwapReport } from 'soswap';
import * as dl from 'soswap/dl';

const [, , builds] = process.argv;
copyFileSync(`${builds}/one.so`, './library.so');
const library = SoHandle.open('./library.so', {
  quote: { arguments: ['float64', 'uint32'], return: 'float64' },
});
const price: number = library.functions.quote(101.5, 2);
assert.equal(price, 203);

copyFileSync(`${builds}/two.so`, './library.so');
const report: SwapReport = library.swapSync();
assert.equal(report.generation, 2);
assert.equal(library.functions.quote(101.5, 2), 101.5);
library.close();
assert.throws(() => dl.dlopen('./absent.so'), SoError);
