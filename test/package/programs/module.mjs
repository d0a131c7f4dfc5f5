// An ES module. It is started with the directory of the two builds, and calls, swaps and calls again.

import assert from 'node:assert';
import { copyFileSync } from 'node:fs';
import { SoError, SoHandle } from 'soswap';
import * as dl from 'soswap/dl';

const [, , builds] = process.argv;
copyFileSync(`${builds}/one.so`, './library.so');
const library = SoHandle.open('./library.so', {
  quote: { arguments: ['float64', 'uint32'], return: 'float64' },
  version: { return: 'string', nonblocking: true },
});
const { quote, version } = library.functions;
assert.equal(quote(101.5, 2), 203);
assert.equal(await version(), 'build 1111');

copyFileSync(`${builds}/two.so`, './library.so');
assert.equal(quote(101.5, 2), 203);
const { generation, unmapped } = await library.swap();
assert.deepEqual([generation, unmapped], [2, true]);
assert.equal(quote(101.5, 2), 101.5);
assert.equal(await version(), 'build 2222');
library.close();
assert.throws(() => dl.dlopen('./absent.so'), SoError);
