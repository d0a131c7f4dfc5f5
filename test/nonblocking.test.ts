import { join } from 'node:path';
import { type Definitions, SoHandle } from 'soswap';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, importUntil, runProgram } from '../fixtures/child.js';
import { Gate } from '../fixtures/gate.js';
import { until } from '../fixtures/until.js';

const directory = t.testdir();
const library = compile('calls.c', join(directory, 'calls.so'));
const throwing = compile('throws.cc', join(directory, 'throws.so'));

const definitions = {
  add_slowly: { arguments: ['int32', 'int32', 'uint32'], return: 'int32', nonblocking: true },
  echo_uint64: { arguments: ['uint64'], return: 'uint64', nonblocking: true },
  echo_float32: { arguments: ['float32'], return: 'float32', nonblocking: true },
  fill: { arguments: ['buffer', 'uint64', 'uint8'], nonblocking: true },
  hello: { return: 'string', nonblocking: true },
  increment_slowly: { arguments: ['buffer', 'uint64', 'uint32', 'uint8'], nonblocking: true },
  length_of: { arguments: ['string'], return: 'uint64', nonblocking: true },
  mixed20: {
    arguments: [
      ...(['i8', 'f64', 'u64', 'f32', 'str', 'u16', 'f64', 'i64', 'f32', 'u8'] as const),
      ...(['f64', 'i32', 'f64', 'u32', 'f32', 'i16', 'f64', 'bool', 'f32', 'f64'] as const),
    ],
    return: 'string',
    nonblocking: true,
  },
  move_bytes: { arguments: ['buffer', 'pointer', 'uint64'], nonblocking: true },
  no_text: { return: 'string', nonblocking: true },
  noop: { nonblocking: true },
  sleep_ms: { arguments: ['uint32'], nonblocking: true },
  sum_bytes: { arguments: ['pointer', 'uint64'], return: 'uint64', nonblocking: true },
  text_slowly: { arguments: ['string', 'uint32'], return: 'string', nonblocking: true },
  thread_id: { return: 'uint64', nonblocking: true },
} as const satisfies Definitions;

const so = SoHandle.open(library, definitions);
const call = so.functions;
t.teardown(() => so.close());

/** Its calls last for as long as a test wants. */
const waiting = SoHandle.open(compile('gate.c', join(directory, 'gate.so'), '-DLINE=1111'), {
  pass: { arguments: ['buffer'], return: 'int32', nonblocking: true },
});
t.teardown(() => waiting.close());

t.test('a call runs on another thread and resolves with its result', async (t) => {
  const threadHere = SoHandle.open(library, { thread_id: { return: 'uint64' } });
  t.not(await call.thread_id(), threadHere.functions.thread_id());
  t.equal(await call.add_slowly(20, 22, 1), 42);
  t.equal(await call.echo_uint64(2n ** 64n - 1n), 2n ** 64n - 1n);
  t.equal(await call.echo_float32(0.1), Math.fround(0.1));
  t.equal(await call.noop(), undefined);
  t.equal(await call.hello(), 'hello, wörld');
  t.equal(await call.no_text(), null);
  t.equal(
    await call.mixed20(
      ...([-8, 1.5, 2n ** 64n - 1n, 2.5, 'text', 65535, 3.5, -(2n ** 63n), 4.5, 255] as const),
      ...([5.5, -2147483648, 6.5, 4294967295, 7.5, -32768, 8.5, 1, 9.5, 10.5] as const),
    ),
    '-8 1.5 18446744073709551615 2.5 text 65535 3.5 -9223372036854775808 4.5 255 ' +
      '5.5 -2147483648 6.5 4294967295 7.5 -32768 8.5 1 9.5 10.5',
  );
});

t.test('JavaScript runs meanwhile', async (t) => {
  const gate = new Gate();
  const line = waiting.functions.pass(gate.words);
  await gate.arrival(); // which takes turns of the event loop
  gate.open();
  t.equal(await line, 1111);
});

t.test('wrong arguments reject, with the same errors', async (t) => {
  const untyped = call as unknown as Record<string, (...values: unknown[]) => Promise<unknown>>;
  const wrong = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' };
  await t.rejects(untyped.add_slowly!(1, 2), { ...wrong, message: /\b3\b.*\b2\b/ });
  await t.rejects(untyped.add_slowly!(1, 2.5, 3), { ...wrong, message: /\b2 of 3\b/ });
  await t.rejects(untyped.length_of!('a\0b'), wrong);
  await t.rejects(untyped.length_of!(5), wrong);
  await t.rejects(untyped.sum_bytes!(new SharedArrayBuffer(4), 4), wrong);
  await t.rejects(untyped.fill!(-1n, 4, 5), wrong);
  const gone = new Uint8Array(4);
  structuredClone(gone.buffer, { transfer: [gone.buffer] });
  await t.rejects(untyped.fill!(gone, 4, 5), wrong);
});

t.test('a string is copied when the call is made, and its result when it is done', async (t) => {
  const texts = ['a', 'é'.repeat(50), '', 'x'.repeat(200)];
  const calls = texts.map((text, index) => call.text_slowly(text, 20 - 5 * index));
  t.same(
    await Promise.all(calls),
    texts.map((text) => `${text}!`),
  );
  t.equal(await call.length_of('z'.repeat(1_000_000)), 1_000_000n);
});

t.test('pointer-like arguments', async (t) => {
  const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  const values = [bytes, bytes.buffer, new DataView(bytes.buffer), Buffer.from(bytes)];
  for (const value of [...values, new Float64Array(bytes.buffer)]) {
    t.equal(await call.sum_bytes(value, 8), 36n, value.constructor.name);
  }
  t.equal(await call.sum_bytes(bytes.subarray(3, 5), 2), 9n, 'a view that begins later');
  t.equal(await call.sum_bytes(null, 0), 0n);
  t.equal(await call.sum_bytes(new Uint8Array(0), 0), 0n);
  t.equal(await call.sum_bytes(so.getSymbol('data_bytes'), 4), 10n);
});

t.test('what a call wrote into an ArrayBuffer is there when it is done', async (t) => {
  const bytes = Uint8Array.of(1, 2, 3, 4);
  const done = call.increment_slowly(bytes, 4, 50, 7);
  t.same([...bytes], [1, 2, 3, 4], 'the call has a copy');
  await done;
  t.same([...bytes], [9, 3, 4, 5]);

  const large = new Uint8Array(1_000_003);
  await call.fill(large.subarray(1), 1_000_001, 5);
  t.equal(large[0], 0);
  t.equal(large.at(-1), 0);
  t.ok(large.subarray(1, -1).every((byte) => byte === 5));
  const doubles = new Float64Array(3);
  await call.fill(doubles.subarray(1), 16, 0x40);
  t.same([...doubles], [0, 32.501960784313724, 32.501960784313724], 'counted in bytes');
});

t.test('bytes that a call left alone keep what JavaScript stored meanwhile', async (t) => {
  const bytes = Uint8Array.of(1, 2, 3, 4);
  const done = call.increment_slowly(bytes, 2, 20, 0);
  bytes[3] = 99;
  await done;
  t.same([...bytes], [2, 3, 3, 99]);
});

t.test('arguments that overlap in JavaScript overlap in the call', async (t) => {
  const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  await call.move_bytes(bytes.subarray(1), bytes, 7);
  t.same([...bytes], [1, 1, 2, 3, 4, 5, 6, 7]);
  const far = new Uint8Array(10_000);
  far.fill(6, 9_000);
  await call.move_bytes(far.subarray(100), far.buffer, 9_900);
  t.equal(far[9_100], 6);
  t.equal(far[9_099], 0);
});

t.test('views that touch or lie apart are copied alone, in any order', async (t) => {
  const bytes = Uint8Array.from({ length: 1024 }, (_, index) => index % 251);
  const before = [...bytes];
  for (const [to, from, length] of [
    [64, 0, 64], // they touch
    [0, 64, 64],
    [960, 8, 60],
    [8, 960, 60],
    [1, 129, 2], // apart by less than a stride of the copy
    [1024, 0, 0], // empty, at the end
    [512, 512, 0],
  ] as const) {
    before.copyWithin(to, from, from + length);
    await call.move_bytes(bytes.subarray(to), bytes.subarray(from, from + length), length);
    t.same([...bytes], before);
    await call.move_bytes(
      bytes.subarray(to, to + length),
      bytes.subarray(from, from + length),
      length,
    );
    t.same([...bytes], before);
  }
});

t.test(
  'two views at the ends of a large ArrayBuffer cost no copy of what lies between',
  async (t) => {
    const program = `
    import { readFileSync } from 'node:fs';
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('${library}', {
      move_bytes: { arguments: ['buffer', 'pointer', 'uint64'], nonblocking: true },
    });
    // The most memory that this process has had, in KiB: proc(5). Nothing has touched the middle.
    const peak = () => Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
    const large = new ArrayBuffer(256 << 20);
    const [first, last] = [new Uint8Array(large, 0, 8), new Uint8Array(large, (256 << 20) - 8)];
    await so.functions.move_bytes(new Uint8Array(8), new Uint8Array(8), 8);
    last.fill(7);
    const before = peak();
    await so.functions.move_bytes(first, last, 8);
    process.send([[...first], peak() - before]);
  `;
    const ended = await runProgram(program, { cwd: directory });
    t.match(ended, exitedCleanly);
    const [first, grown] = ended.messages[0] as [number[], number];
    t.same(first, Array(8).fill(7));
    t.ok(grown < 32 << 10, `the memory grew by ${grown} KiB`);
  },
);

t.test('an ArrayBuffer may be detached while a call runs', async (t) => {
  const bytes = Uint8Array.of(1, 2, 3, 4);
  const done = call.increment_slowly(bytes, 4, 30, 0);
  const moved = structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  await done;
  t.equal(bytes.length, 0);
  t.same([...new Uint8Array(moved)], [1, 2, 3, 4], 'what was moved away is left alone');
});

t.test('an ArrayBuffer may shrink and grow while a call runs', async (t) => {
  const Resizable = ArrayBuffer as unknown as new (
    length: number,
    options: { maxByteLength: number },
  ) => ArrayBuffer & { resize(length: number): void };
  const buffer = new Resizable(8, { maxByteLength: 100_000 });
  const shrunk = call.increment_slowly(buffer, 8, 30, 0);
  buffer.resize(3);
  await shrunk;
  t.same([...new Uint8Array(buffer)], [1, 1, 1]);
  const grown = call.increment_slowly(buffer, 3, 30, 0);
  buffer.resize(100_000);
  await grown;
  t.same([...new Uint8Array(buffer, 0, 5)], [2, 2, 2, 0, 0]);
});

t.test('memory that is shared is passed as it is', async (t) => {
  const { words } = new Gate();
  const done = waiting.functions.pass(words);
  await until('what the call writes is seen', () => words[0] === 1);
  words[1] = 1; // and what JavaScript writes is seen by the call
  t.equal(await done, 1111);
});

t.test('arguments outlive what JavaScript does to them', async (t) => {
  const cwd = t.testdir();
  const program = `
    import { SoHandle } from 'soswap';
    const so = SoHandle.open(${JSON.stringify(library)}, ${JSON.stringify(definitions)});
    const calls = [];
    for (let round = 0; round < 100; round++) {
      const shared = new Uint8Array(new SharedArrayBuffer(100_000));
      calls.push(so.functions.increment_slowly(shared, 100_000, 5, 0));
      calls.push(so.functions.increment_slowly(new Uint8Array(100_000), 100_000, 5, 0));
      calls.push(so.functions.text_slowly('x'.repeat(100) + round, 5));
      if (round % 20 === 0) gc();
    }
    gc();
    const results = await Promise.all(calls);
    process.send(results.every((result, index) =>
      index % 3 < 2 ? result === undefined : result === 'x'.repeat(100) + (index - 2) / 3 + '!'));
    so.close();
  `;
  const ended = await runProgram(program, { cwd }, '--expose-gc');
  t.match(ended, { ...exitedCleanly, messages: [true] });
});

t.test('1,000 calls at once', async (t) => {
  const calls = Array.from({ length: 1000 }, (_, index) => call.add_slowly(index, 1, 1));
  t.same(
    await Promise.all(calls),
    Array.from({ length: 1000 }, (_, index) => index + 1),
  );
});

t.test('a C++ exception rejects', async (t) => {
  const handle = SoHandle.open(throwing, {
    throw_if: { arguments: ['int32'], return: 'int32', nonblocking: true },
    throw_int: { nonblocking: true },
  });
  const { throw_if, throw_int } = handle.functions;
  const code = 'ERR_SOSWAP_NATIVE_EXCEPTION';
  await t.rejects(throw_if(5), {
    name: 'SoError',
    code,
    symbol: 'throw_if',
    message: /value is 5/,
  });
  await t.rejects(throw_int(), { code });
  t.equal(await throw_if(0), 7);
  handle.close();
});

const open = `
  import { Worker, isMainThread } from 'node:worker_threads';
  import { fileURLToPath } from 'node:url';
  import { SoHandle } from 'soswap';
  const so = SoHandle.open(${JSON.stringify(library)}, ${JSON.stringify(definitions)});
  const start = () => {
    for (let round = 0; round < 8; round++) {
      so.functions.sleep_ms(20).catch(() => {});
      so.functions.increment_slowly(new Uint8Array(1000), 1000, 20, 1).catch(() => {});
      so.functions.increment_slowly(new Uint8Array(new SharedArrayBuffer(9)), 9, 20, 1);
      so.functions.text_slowly('text', 20).catch(() => {});
    }
  };
`;
const endings: [string, string, object][] = [
  ['process.exit()', 'start(); setTimeout(() => process.exit(7), 30);', { code: 7, stderr: '' }],
  ['process.exit() at once', 'start(); process.exit(7);', { code: 7, stderr: '' }],
  ['an uncaught exception', 'start(); throw new Error("the end");', { code: 1 }],
  ['the end of the program', 'start();', exitedCleanly],
];
for (const [name, program, expected] of endings) {
  t.test(`${name} with calls in flight does not crash`, async (t) => {
    const ended = await runProgram(open + program, { cwd: t.testdir() });
    t.match(ended, { signal: null, ...expected });
  });
}

const ways: [way: string, inside: string, outside: string, errors: string[]][] = [
  ['worker.terminate()', 'setInterval(() => {}, 1000);', 'await worker.terminate();', []],
  ['process.exit() in the worker', 'process.exit();', '', []],
  ['an exception in the worker', 'throw new Error("the end");', '', ['the end']],
  ['the end of the worker', '', '', []],
];
for (const [way, inside, outside, errors] of ways) {
  t.test(`${way} with calls in flight does not crash`, async (t) => {
    const cwd = t.testdir({
      'worker.mjs': `
        import { workerData } from 'node:worker_threads';
        ${open}
        const throwing = SoHandle.open(${JSON.stringify(throwing)}, {
          throw_if: { arguments: ['int32'], return: 'int32', nonblocking: true },
        });
        for (let round = 0; round < 8; round++) throwing.functions.throw_if(1).catch(() => {});
        start();
        Atomics.store(workerData, 0, 1);
        ${inside}
      `,
    });
    const program = `
      import { once } from 'node:events';
      import { setTimeout as sleep } from 'node:timers/promises';
      import { Worker } from 'node:worker_threads';
      ${importUntil}
      for (const milliseconds of [0, 20, 60]) {
        const begun = new Int32Array(new SharedArrayBuffer(4));
        const worker = new Worker('./worker.mjs', { execArgv: [], workerData: begun });
        const errors = [];
        worker.on('error', ({ message }) => errors.push(message));
        const gone = new Promise((resolve) => worker.on('exit', resolve));
        await until('the calls are in flight', () => Atomics.load(begun, 0) === 1);
        await sleep(milliseconds);
        ${outside}
        await gone;
        process.send(errors);
      }
    `;
    const ended = await runProgram(program, { cwd });
    t.match(ended, exitedCleanly);
    t.same(ended.messages, [errors, errors, errors]);
  });
}
