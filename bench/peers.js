// Runs in bun or deno, for bench/calls.ts: peers.js LIBRARY ROUNDS. Prints, as JSON, the nanoseconds per call of each round.

const isBun = 'Bun' in globalThis;
const [library, rounds] = (isBun ? process.argv.slice(2) : Deno.args).slice(-2);
const calls = isBun ? await ofBun() : ofDeno();

async function ofBun() {
  const { dlopen } = await import('bun:ffi');
  return dlopen(library, {
    noop: { returns: 'void' },
    add: { args: ['i32', 'i32'], returns: 'i32' },
    add64: { args: ['i64', 'i64'], returns: 'i64' },
    mul: { args: ['f64', 'f64'], returns: 'f64' },
  }).symbols;
}

function ofDeno() {
  return Deno.dlopen(library, {
    noop: { parameters: [], result: 'void' },
    add: { parameters: ['i32', 'i32'], result: 'i32' },
    add64: { parameters: ['i64', 'i64'], result: 'i64' },
    mul: { parameters: ['f64', 'f64'], result: 'f64' },
  }).symbols;
}

const repeats = 200_000;
/** One text each: what an engine learns about a call, it learns for the text. */
const loops = {
  noop: (call) => {
    for (let i = 0; i < repeats; i++) call();
  },
  add: (call) => {
    let last;
    for (let i = 0; i < repeats; i++) last = call(i, 4);
    return last;
  },
  add64: (call) => {
    let last;
    for (let i = 0; i < repeats; i++) last = call(7n, 4n);
    return last;
  },
  mul: (call) => {
    let last;
    for (let i = 0; i < repeats; i++) last = call(i, 2.5);
    return last;
  },
};

const times = {};
for (const [name, loop] of Object.entries(loops)) {
  times[name] = [];
  for (let round = -20; round < Number(rounds); round++) {
    const began = performance.now();
    loop(calls[name]);
    const nanoseconds = ((performance.now() - began) * 1e6) / repeats;
    if (round >= 0) times[name].push(nanoseconds);
  }
}
console.log(JSON.stringify(times));
