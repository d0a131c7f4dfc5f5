import { endianness } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import { type ArgumentType, type Definition, type ReturnType, SoHandle } from 'soswap';
import t from 'tap';
import { compile } from '../fixtures/build.js';

const directory = t.testdir();
const library = compile('calls.c', join(directory, 'calls.so'));
const throwing = compile('throws.cc', join(directory, 'throws.so'));
const so = SoHandle.open(library);
t.teardown(() => so.close());

type Call = (...values: unknown[]) => unknown;

/** A function of the fixture whose types the compiler of TypeScript does not know. */
function bind(
  symbol: string,
  types: readonly ArgumentType[],
  result: ReturnType,
  handle = SoHandle.open(library),
): Call {
  return handle.getFunction(symbol, { arguments: types, return: result } as Definition) as Call;
}

/** Echoes a value of a type, through the callback for scalars and through the one for everything. */
function echoes(type: ArgumentType & ReturnType, symbol = `echo_${type}`): Call[] {
  return [bind(symbol, [type], type), bind(symbol, [type, 'pointer'], type) as Call].map(
    (call, index) => (index === 0 ? call : (value: unknown) => call(value, null)),
  );
}

const wrong = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' };

const charRange = ['arm64', 'arm'].includes(process.arch) ? [0, 255] : [-128, 127];
const ranges: [ArgumentType & ReturnType, number, number][] = [
  ['bool', 0, 255],
  ['char', charRange[0]!, charRange[1]!],
  ['int8', -128, 127],
  ['uint8', 0, 255],
  ['int16', -32768, 32767],
  ['uint16', 0, 65535],
  ['int32', -2147483648, 2147483647],
  ['uint32', 0, 4294967295],
];

t.test('integers of up to 32 bits', async (t) => {
  for (const [type, least, greatest] of ranges) {
    // C makes 1 of every other bool: its edges are tested as uint8.
    for (const echo of echoes(type, type === 'bool' ? 'echo_uint8' : `echo_${type}`)) {
      for (const value of [least, least + 1, 0, 1, greatest - 1, greatest]) {
        t.equal(echo(value), value, `${type} ${value}`);
      }
      t.equal(echo(-0), 0, `${type} -0`);
      const refused = [
        least - 1,
        greatest + 1,
        1.5,
        -0.5,
        Number.MIN_VALUE,
        Number.NaN,
        Number.POSITIVE_INFINITY,
        Number.NEGATIVE_INFINITY,
        2 ** 53,
        1e300,
        0n,
        1n,
        '1',
        '',
        true,
        false,
        null,
        undefined,
        {},
        [],
        Symbol('1'),
        new Number(1),
        new Uint8Array(1),
        () => 1,
      ];
      for (const value of refused) {
        t.throws(() => echo(value), wrong, `${type} refuses ${typeof value} ${String(value)}`);
      }
    }
  }
});

t.test('64-bit integers are bigints, and safe integers are taken too', async (t) => {
  const wide = [
    ['int64', -(2n ** 63n), 2n ** 63n - 1n, Number.MIN_SAFE_INTEGER],
    ['uint64', 0n, 2n ** 64n - 1n, 0],
  ] as const;
  for (const [type, least, greatest, leastNumber] of wide) {
    for (const echo of echoes(type)) {
      for (const value of [least, least + 1n, 0n, 1n, greatest - 1n, greatest]) {
        t.equal(echo(value), value, `${type} ${value}n`);
      }
      for (const value of [leastNumber, 0, 1, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
        t.equal(echo(value), BigInt(value), `${type} ${value}`);
      }
      t.equal(echo(-0), 0n, `${type} -0`);
      const refused = [
        least - 1n,
        greatest + 1n,
        2n ** 200n,
        -(2n ** 200n),
        leastNumber - 1,
        Number.MAX_SAFE_INTEGER + 1,
        0.5,
        Number.NaN,
        Number.POSITIVE_INFINITY,
        '1',
        true,
        null,
        undefined,
        {},
        Object(1n),
      ];
      for (const value of refused) {
        t.throws(() => echo(value), wrong, `${type} refuses ${typeof value} ${String(value)}`);
      }
    }
  }
});

t.test('floating-point numbers', async (t) => {
  const values = [0, -0, 1, -1, 1.5, 2 ** 53, 1e300, -1e300, 5e-324, Number.MAX_VALUE];
  values.push(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0.1, 3.4028235e38);
  for (const type of ['float32', 'float64'] as const) {
    for (const echo of echoes(type)) {
      for (const value of values) {
        const expected = type === 'float32' ? Math.fround(value) : value;
        t.ok(Object.is(echo(value), expected), `${type} ${value}`);
      }
      for (const value of [1n, '1', true, null, undefined, {}, [], new Number(1)]) {
        t.throws(() => echo(value), wrong, `${type} refuses ${typeof value} ${String(value)}`);
      }
    }
  }
});

t.test('bool is 0 and 1, as in node:ffi', async (t) => {
  const echo = bind('echo_bool', ['bool'], 'bool');
  t.equal(echo(0), 0);
  t.equal(echo(1), 1);
  t.throws(() => echo(true), wrong);
  t.throws(() => echo(false), wrong);
});

t.test('a narrow result is cut out of its register', async (t) => {
  const results: [ReturnType, unknown][] = [
    ['int8', -127],
    ['uint8', 129],
    ['bool', 129],
    ['char', charRange[0] === 0 ? 129 : -127],
    ['int16', 0xa581 - 0x10000],
    ['uint16', 0xa581],
    ['int32', 0xa5a5a581 - 2 ** 32],
    ['uint32', 0xa5a5a581],
    ['int64', 0xa5a5a5a5a5a5a581n - 2n ** 64n],
    ['uint64', 0xa5a5a5a5a5a5a581n],
    ['pointer', 0xa5a5a5a5a5a5a581n],
    ['buffer', 0xa5a5a5a5a5a5a581n],
    ['arraybuffer', 0xa5a5a5a5a5a5a581n],
    ['function', 0xa5a5a5a5a5a5a581n],
    ['void', undefined],
  ];
  for (const [type, expected] of results) t.equal(bind('dirty', [], type)(), expected, type);
});

t.test('a narrow argument is widened for the callee', async (t) => {
  t.equal(bind('widen_int8', ['int8'], 'int32')(-1), -1);
  t.equal(bind('widen_int16', ['int16'], 'int32')(-1), -1);
  t.equal(bind('widen_uint8', ['uint8'], 'uint32')(255), 255);
  t.equal(bind('widen_uint16', ['uint16'], 'uint32')(65535), 65535);
});

t.test('any number of arguments, in registers and on the stack', async (t) => {
  for (const count of [0, 1, 6, 7, 9]) {
    const call = bind(`weighted${count}`, Array(count).fill('int64'), 'int64');
    const values = Array.from({ length: count }, (_, index) => 10 ** index);
    const expected = values.reduce((sum, value, index) => sum + value * (index + 1), 0);
    t.equal(call(...values), BigInt(expected), `${count} integers`);
  }
  const doubles = bind('weighted_doubles9', Array(9).fill('float64'), 'float64');
  t.equal(doubles(1, 2, 3, 4, 5, 6, 7, 8, 9), 285, '9 doubles');

  const { mixed20 } = SoHandle.open(library, {
    mixed20: {
      arguments: [
        ...(['i8', 'f64', 'u64', 'f32', 'str', 'u16', 'double', 'i64', 'float', 'u8'] as const),
        ...(['f64', 'i32', 'f64', 'u32', 'f32', 'i16', 'f64', 'bool', 'f32', 'f64'] as const),
      ],
      return: 'string',
    },
  }).functions;
  t.equal(
    mixed20(
      ...([-8, 1.5, 2n ** 64n - 1n, 2.5, 'text', 65535, 3.5, -(2n ** 63n), 4.5, 255] as const),
      ...([5.5, -2147483648, 6.5, 4294967295, 7.5, -32768, 8.5, 1, 9.5, 10.5] as const),
    ),
    '-8 1.5 18446744073709551615 2.5 text 65535 3.5 -9223372036854775808 4.5 255 ' +
      '5.5 -2147483648 6.5 4294967295 7.5 -32768 8.5 1 9.5 10.5',
  );

  // More than a C programmer writes: what is beyond the callee's own parameters it does not look at.
  const many = bind('add', Array(1000).fill('int32'), 'int32');
  t.equal(many(...Array(1000).fill(3)), 6);
});

t.test('the number of arguments must be right', async (t) => {
  for (const count of [0, 1, 2, 4, 5, 9]) {
    const call = bind('noop', Array(count).fill('int32'), 'void');
    t.equal(call.length, count, 'the length of the function');
    for (const got of [0, 1, count - 1, count + 1, 20].filter((n) => n >= 0 && n !== count)) {
      const expected = { ...wrong, message: new RegExp(`\\b${count}\\b.*\\b${got}\\b`) };
      t.throws(() => call(...Array(got).fill(1)), expected, `${got} for ${count}`);
    }
  }
});

t.test('strings are UTF-8, whatever their length', async (t) => {
  const length = bind('length_of', ['string'], 'uint64');
  // A short string has a place of its own, of 256 bytes.
  for (const character of ['a', 'é', '€', '😀', '\ud800']) {
    for (const count of [0, 1, 50, 60, 70, 80, 100, 120, 125, 130, 250, 253, 255, 256, 100_000]) {
      const text = character.repeat(count);
      t.equal(length(text), BigInt(Buffer.byteLength(text)), `${count} × ${character}`);
    }
  }
  const echo = bind('echo_string', ['string'], 'string');
  for (const text of ['', 'a', 'é€😀', 'x'.repeat(254), 'é'.repeat(200), 'y'.repeat(1_000_000)]) {
    t.equal(echo(text), text);
  }
  t.equal(echo('\ud800'), '\ufffd', 'a lone surrogate is replaced');
  const compare = bind('compare', ['string', 'string'], 'int32');
  t.equal(compare('a'.repeat(200), 'a'.repeat(200)), 0, 'two strings do not share a place');
  t.ok((compare('a'.repeat(200), `${'a'.repeat(199)}b`) as number) < 0);
  t.throws(() => echo('a\0b'), wrong);
  t.throws(() => echo(`${'a'.repeat(1000)}\0`), wrong);
});

t.test('a string result is copied at once, and is null for NULL', async (t) => {
  t.equal(bind('hello', [], 'string')(), 'hello, wörld');
  t.equal(bind('no_text', [], 'string')(), null);
  t.equal(bind('not_utf8', [], 'string')(), 'a\ufffdb');
  const text = bind('counter_text', [], 'string');
  t.same([text(), text()], ['call 1', 'call 2']);
  t.type(bind('hello', [], 'pointer')(), 'bigint');
});

const pointerLike = ['pointer', 'string', 'buffer', 'arraybuffer', 'function'] as const;

t.test('pointer-like arguments', async (t) => {
  const bytes = Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7);
  for (const type of pointerLike) {
    const echo = bind('echo_pointer', [type], 'pointer');
    t.equal(echo(null), 0n, `${type}: null`);
    t.equal(echo(undefined), 0n, `${type}: undefined`);
    for (const address of [0n, 1n, 2n ** 63n, 2n ** 64n - 1n]) t.equal(echo(address), address);

    const sum = bind('sum_bytes', [type, 'uint64'], 'uint64');
    const same = Buffer.from(bytes);
    t.equal(sum(bytes, 8), 28n, `${type}: Uint8Array`);
    t.equal(sum(bytes.subarray(4), 4), 22n, `${type}: a view that begins later`);
    t.equal(sum(bytes.buffer, 8), 28n, `${type}: ArrayBuffer`);
    t.equal(sum(new DataView(bytes.buffer, 6), 2), 13n, `${type}: DataView`);
    t.equal(sum(new Float64Array(bytes.buffer), 8), 28n, `${type}: Float64Array`);
    t.equal(sum(new BigInt64Array(bytes.buffer), 8), 28n, `${type}: BigInt64Array`);
    t.equal(sum(same, 8), 28n, `${type}: Buffer`);
    t.equal(sum('abc', 3), 294n, `${type}: string`);
    t.equal(sum(new Uint8Array(0), 0), 0n, `${type}: nothing`);
    const shared = new Uint8Array(new SharedArrayBuffer(8));
    shared.set(bytes);
    t.equal(sum(shared, 8), 28n, `${type}: a view of a SharedArrayBuffer`);

    const refused = [true, 0, 1, -1, 1.5, {}, [1], () => 1, Symbol('x'), new Date(), new Map()];
    refused.push(new SharedArrayBuffer(4), new Proxy({}, {}), -1n, 2n ** 64n, 2n ** 200n);
    t.throws(() => echo(new Proxy(bytes, {})), wrong, `${type} refuses a proxy`);
    for (const value of refused) {
      t.throws(() => echo(value), wrong, `${type} refuses ${typeof value} ${String(value)}`);
    }
  }
});

t.test('memory is written in place', async (t) => {
  const fill = bind('fill', ['buffer', 'uint64', 'uint8'], 'void');
  const bytes = new Uint8Array(4);
  fill(bytes, 3, 7);
  t.same([...bytes], [7, 7, 7, 0]);
  const shared = new Uint8Array(new SharedArrayBuffer(4));
  fill(shared, 4, 9);
  t.same([...shared], [9, 9, 9, 9]);
});

t.test('detached memory is refused, resizable memory is taken', async (t) => {
  for (const type of pointerLike) {
    const call = bind('echo_pointer', [type], 'pointer');
    const buffer = new ArrayBuffer(16);
    const views = [new Uint8Array(buffer), new Uint8Array(buffer, 8), new DataView(buffer, 4)];
    structuredClone(buffer, { transfer: [buffer] });
    for (const memory of [buffer, ...views]) {
      t.throws(() => call(memory), wrong, memory.constructor.name);
    }
  }
  const Resizable = ArrayBuffer as unknown as new (
    length: number,
    options: { maxByteLength: number },
  ) => ArrayBuffer & { resize(length: number): void };
  const buffer = new Resizable(4, { maxByteLength: 8 });
  const bytes = new Uint8Array(buffer);
  const fill = bind('fill', ['buffer', 'uint64', 'uint8'], 'void');
  fill(bytes, 4, 5);
  buffer.resize(8);
  fill(buffer, 8, 6);
  t.same([...bytes], [6, 6, 6, 6, 6, 6, 6, 6]);
});

t.test('no JavaScript runs while arguments are converted', async (t) => {
  const touched: string[] = [];
  const handler = new Proxy({}, { get: (_, trap) => touched.push(String(trap)) });
  const traps = [
    { valueOf: () => touched.push('valueOf'), toString: () => touched.push('toString') },
    { [Symbol.toPrimitive]: () => touched.push('toPrimitive') },
    new Proxy({}, handler),
    new Proxy(() => 1, handler),
    Object.defineProperty(new Uint8Array(1), 'length', { get: () => touched.push('length') }),
    Object.defineProperty({}, Symbol.toStringTag, { get: () => touched.push('tag') }),
  ];
  for (const type of ['int32', 'uint64', 'float64', 'string', 'buffer'] as const) {
    const call = bind('noop', [type], 'void');
    for (const trap of traps) {
      try {
        call(trap);
      } catch (error) {
        t.match(error, wrong);
      }
    }
  }
  t.same(touched, []);
  t.equal(`${traps[0]}`, '1');
  t.same(touched, ['toString'], 'they would have told');
});

t.test('the error names the function, the position, the type, and what came', async (t) => {
  const add = bind('add', ['int32', 'int32'], 'int32');
  const cases: [unknown, RegExp][] = [
    [1.5, /add\(\).*\b2 of 2\b.*int32.*-2147483648.*2147483647.*\b1\.5\b/],
    ['1', /'1'/],
    ['x'.repeat(1000), /'x{40}…'/],
    ['é'.repeat(1000), /'é{20}…'/],
    [12n, /12n/],
    [2n ** 100_000n, /99968 bits/],
    [null, /null/],
    [undefined, /undefined/],
    [true, /true/],
    [Symbol('x'), /symbol/],
    [[], /array/],
    [{}, /object/],
    [new Date(), /Date/],
    [Promise.resolve(), /promise/i],
    [new Uint8Array(), /typed array/],
    [new DataView(new ArrayBuffer(1)), /DataView/],
    [new ArrayBuffer(1), /ArrayBuffer/],
    [() => 1, /function/],
  ];
  for (const [value, message] of cases) t.throws(() => add(1, value), { ...wrong, message });
  t.throws(() => add('first', 'second'), { ...wrong, message: /\b1 of 2\b/ }, 'the first mistake');
  const notText = { ...wrong, message: /string, Buffer.*null.*undefined.*\b5\b/ };
  t.throws(() => bind('length_of', ['string'], 'uint64')(5), notText);
});

t.test('a closed handle comes before wrong arguments', async (t) => {
  const handle = SoHandle.open(library);
  const calls = [
    bind('add', ['int32', 'int32'], 'int32', handle),
    bind('noop', [], 'void', handle),
  ];
  calls.push(bind('compare', ['string', 'string'], 'int32', handle));
  handle.close();
  for (const call of calls) {
    for (const values of [[], [1, 2], ['a', 'b'], [1, 2, 3]]) {
      t.throws(() => call(...values), { code: 'ERR_SOSWAP_CLOSED', path: library });
    }
  }
});

t.test('C++ exceptions become errors', async (t) => {
  const handle = SoHandle.open(throwing, {
    throw_if: { arguments: ['int32'], return: 'int32' },
    throw_int: {},
    throw_after: { arguments: Array<'float64'>(9).fill('float64'), return: 'float64' },
  });
  const { throw_if, throw_int, throw_after } = handle.functions;
  const code = 'ERR_SOSWAP_NATIVE_EXCEPTION';
  for (let round = 0; round < 3; round++) {
    t.throws(() => throw_if(5), {
      name: 'SoError',
      code,
      path: throwing,
      symbol: 'throw_if',
      message: /value is 5/,
    });
    t.equal(throw_if(0), 7);
    t.throws(() => throw_int(), { code, symbol: 'throw_int' });
    t.throws(() => throw_after(1, 2, 3, 4, 5, 6, 7, 8, 9), { code, message: /nine/ });
    t.equal(throw_after(1, 2, 3, 4, 5, 6, 7, 8, 0), 36);
  }
  t.doesNotThrow(() => handle.close(), 'no call is left in flight');
});

t.test('getSymbol() finds data', async (t) => {
  const read = bind('sum_bytes', ['pointer', 'uint64'], 'uint64', so);
  t.equal(read(so.getSymbol('data_bytes'), 4), 10n);
  const low = endianness() === 'LE' ? 0n : 3n;
  t.equal(read(so.getSymbol('data_symbol') + low, 1), 42n);
});

// koffi.call() and the callbacks of koffi need one koffi.load() before them, of whatever.
koffi.load(null);
const binary = koffi.proto('int32_t binary(int32_t, int32_t)');
const unary = koffi.proto('int32_t unary(int32_t)');

t.test('koffi calls an address that getSymbol() gives', async (t) => {
  t.equal(koffi.call(so.getSymbol('add'), binary, 20, 22), 42);
});

t.test('a library calls back into JavaScript, through koffi', async (t) => {
  const { call_back, add } = SoHandle.open(library, {
    call_back: { arguments: ['function', 'int32'], return: 'int32' },
    add: { arguments: ['int32', 'int32'], return: 'int32' },
  }).functions;
  const callback = koffi.register((value: number): number => {
    return value < 10 ? call_back(callback, add(value, 1)) : 100 * value;
  }, koffi.pointer(unary));
  t.teardown(() => koffi.unregister(callback));
  t.equal(call_back(callback, 0), 1000, 'calls nest');
});

t.test('a callback that swaps or closes during the call is refused', async (t) => {
  const handle = SoHandle.open(library, {
    call_back: { arguments: ['function', 'int32'], return: 'int32' },
  });
  const { call_back } = handle.functions;
  const errors: unknown[] = [];
  const attempts = [() => handle.swapSync(), () => handle.close()];
  const callback = koffi.register((value: number) => {
    // An exception may not leave a callback of koffi that something else than koffi called.
    try {
      attempts[value]?.();
    } catch (error) {
      errors.push(error);
    }
    return value + 40;
  }, koffi.pointer(unary));
  t.teardown(() => koffi.unregister(callback));

  t.equal(call_back(callback, 0), 40);
  t.equal(call_back(callback, 1), 41);
  t.match(errors, [{ code: 'ERR_SOSWAP_BUSY' }, { code: 'ERR_SOSWAP_BUSY' }]);
  t.equal(handle.generation, 1);
  handle.swapSync();
  t.equal(call_back(callback, 2), 42, 'afterwards a swap works, and the function too');
  handle.close();
});

t.test('swap() waits until a call has returned', async (t) => {
  const handle = SoHandle.open(library, {
    call_back: { arguments: ['function', 'int32'], return: 'int32' },
  });
  let swap: Promise<unknown> | undefined;
  const callback = koffi.register((value: number) => {
    swap = handle.swap();
    return value + 1;
  }, koffi.pointer(unary));
  t.teardown(() => koffi.unregister(callback));
  t.equal(handle.functions.call_back(callback, 1), 2);
  t.match(await swap, { generation: 2, unmapped: true });
  handle.close();
});
