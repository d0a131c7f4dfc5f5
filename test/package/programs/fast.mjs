// Node.js calls the library from code that V8 has compiled, as soon as a loop is hot, and swaps go on. It is started with
// the directory of the two builds, and with --allow-natives-syntax, which tells whether the loop was compiled.

import assert from 'node:assert';
import { copyFileSync } from 'node:fs';
import { features, SoHandle } from 'soswap';

const [, , builds] = process.argv;
const { active, reason } = features.fastCalls;
assert.deepEqual({ active, reason }, { active: true, reason: null });
copyFileSync(`${builds}/one.so`, './fast.so');
const library = SoHandle.open('./fast.so', {
  quote: { arguments: ['float64', 'uint32'], return: 'float64', leaf: true },
});
const { quote } = library.functions;
const sum = (count) => {
  let sum = 0;
  for (let n = 0; n < count; n++) sum += quote(n, 2);
  return sum;
};

// What V8 has made of the function that has the C function in it.
const [prepare, optimize] = ['PrepareFunctionForOptimization', 'OptimizeFunctionOnNextCall'].map(
  (name) => new Function('call', `%${name}(call)`),
);
prepare(quote);
assert.equal(sum(3), 6);
optimize(quote);
assert.equal(sum(20_000), 399_980_000);
copyFileSync(`${builds}/two.so`, './fast.so');
await library.swap();
assert.equal(sum(20_000), 199_990_000);
assert.throws(() => quote(1), { code: 'ERR_INVALID_ARG_VALUE' });
assert.throws(() => quote('1', 2), { code: 'ERR_INVALID_ARG_VALUE' });
library.close();
assert.throws(() => quote(1, 2), { code: 'ERR_SOSWAP_CLOSED' });
