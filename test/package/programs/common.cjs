// The same as module.mjs in CommonJS, which gets an ES module from require().

const assert = require('node:assert');
const { copyFileSync } = require('node:fs');
const { SoError, SoHandle } = require('soswap');
const dl = require('soswap/dl');

const [, , builds] = process.argv;
copyFileSync(`${builds}/one.so`, './library.so');
const library = SoHandle.open('./library.so', {
  quote: { arguments: ['float64', 'uint32'], return: 'float64' },
});
const { quote } = library.functions;
assert.equal(quote(101.5, 2), 203);

copyFileSync(`${builds}/two.so`, './library.so');
library.swapSync();
assert.equal(quote(101.5, 2), 101.5);
library.close();

assert.throws(() => dl.dlopen('./absent.so'), SoError);
import('soswap').then((imported) => assert.equal(imported.SoError, SoError));
