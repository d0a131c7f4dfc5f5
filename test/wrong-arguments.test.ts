import { SoHandle } from 'soswap';
import * as dl from 'soswap/dl';
import t from 'tap';
import { twoBuilds } from '../fixtures/build.js';

// What a TypeScript program cannot write and a JavaScript program can.
type Loose = (...values: unknown[]) => unknown;
const loosely = (call: unknown): Loose => call as Loose;

const { one } = twoBuilds(t.testdir());
const so = SoHandle.open(one, {
  count: { return: 'int32' },
  quote: { arguments: ['float64', 'uint32'], return: 'float64' },
});
const { count, quote } = so.functions;
const handle = dl.dlopen(one);
const address = dl.dlsym(handle, 'quote');
t.teardown(() => dl.dlclose(handle));

const values: [what: string, value: unknown][] = [
  ['undefined', undefined],
  ['null', null],
  ['true', true],
  ['false', false],
  ['0', 0],
  ['-1', -1],
  ['1.5', 1.5],
  ['NaN', Number.NaN],
  ['2^53', 2 ** 53],
  ['0n', 0n],
  ['-1n', -1n],
  ['2n ** 64n', 2n ** 64n],
  ["''", ''],
  ['a text', 'text'],
  ['a text with NUL', 'te\0xt'],
  ['a symbol', Symbol('symbol')],
  ['a function', () => 1],
  ['an empty array', []],
  ['an array', ['int32']],
  ['an object that is like an array', { length: 1, 0: 'int32' }],
  ['an object', { int32: 'int32' }],
  ['an object without prototype', Object.create(null)],
  ['a number object', Object(1)],
  ['a string object', Object('text')],
  ['an object with valueOf()', { valueOf: () => 1, toString: () => 'int32' }],
  ['a Buffer', Buffer.from('text')],
  ['a Date', new Date(0)],
  ['a promise', Promise.resolve()],
  ['a URL that is not a file', new URL('https://example.org/lib.so')],
];

interface Parameter {
  readonly name: string;
  readonly call: (value: unknown) => unknown;
  /** The names of those of `values` that are right here, or wrong only later. */
  readonly accepted?: readonly string[];
}

const empty = ['an object without prototype'];
const optionObjects = [
  'undefined',
  'an object without prototype',
  'a number object',
  'a Date',
  'a promise',
  'a URL that is not a file',
];
const texts = ['a text'];
const flags = ['undefined', 'true', 'false'];
const emptyDefinitions = [...empty, 'a Date', 'a promise', 'a number object'];

const open = loosely(SoHandle.open);
const parameters: Parameter[] = [
  { name: 'SoHandle.open: path', call: (value) => open(value), accepted: texts },
  {
    name: 'SoHandle.open: definitions',
    call: (value) => open(one, value),
    accepted: ['undefined', ...emptyDefinitions, 'a URL that is not a file'],
  },
  {
    name: 'SoHandle.open: a definition',
    call: (value) => open(one, { count: value }),
    accepted: [...emptyDefinitions, 'a URL that is not a file'],
  },
  { name: 'SoHandle.open: return', call: (value) => open(one, { count: { return: value } }) },
  {
    name: 'SoHandle.open: arguments',
    call: (value) => open(one, { count: { arguments: value } }),
    accepted: ['an empty array', 'an array'],
  },
  {
    name: 'SoHandle.open: an argument',
    call: (value) => open(one, { count: { arguments: ['int32', value] } }),
  },
  {
    name: 'SoHandle.open: optional',
    call: (value) => open(one, { count: { optional: value } }),
    accepted: flags,
  },
  {
    name: 'SoHandle.open: nonblocking',
    call: (value) => open(one, { count: { nonblocking: value } }),
    accepted: flags,
  },
  {
    name: 'SoHandle.open: options',
    call: (value) => open(one, {}, value),
    accepted: optionObjects,
  },
  {
    name: 'SoHandle.open: options.scope',
    call: (value) => open(one, {}, { scope: value }),
    accepted: ['undefined'],
  },
  {
    name: 'SoHandle.open: options.binding',
    call: (value) => open(one, {}, { binding: value }),
    accepted: ['undefined'],
  },
  {
    name: 'SoHandle.open: options.image',
    call: (value) => open(one, {}, { image: value }),
    accepted: ['undefined'],
  },
  ...(['swapSync', 'swap'] as const).flatMap((method): Parameter[] => {
    const swap = (options: unknown) => loosely(so[method].bind(so))(options);
    return [
      { name: `${method}: options`, call: swap, accepted: optionObjects },
      {
        name: `${method}: options.order`,
        call: (value) => swap({ order: value }),
        accepted: ['undefined'],
      },
      {
        name: `${method}: options.unload`,
        call: (value) => swap({ unload: value }),
        accepted: ['undefined'],
      },
      {
        name: `${method}: options.verify`,
        call: (value) => swap({ verify: value }),
        accepted: ['undefined', 'a function'],
      },
      {
        name: `${method}: options.quarantine`,
        call: (value) => swap({ quarantine: value }),
        accepted: [...optionObjects, 'true', 'false'],
      },
      {
        name: `${method}: options.quarantine.timeout`,
        call: (value) => swap({ quarantine: { timeout: value } }),
        accepted: ['undefined', '0', '1.5', '2^53'],
      },
    ];
  }),
  {
    name: 'swap: options.timeout',
    call: (value) => loosely(so.swap.bind(so))({ timeout: value }),
    accepted: ['undefined', '0', '1.5', '2^53'],
  },
  {
    name: 'getFunction: symbol',
    call: (value) => loosely(so.getFunction.bind(so))(value, {}),
    accepted: texts,
  },
  {
    name: 'getFunction: definition',
    call: (value) => loosely(so.getFunction.bind(so))('version', value),
    accepted: [...emptyDefinitions, 'a URL that is not a file'],
  },
  {
    name: 'getSymbol: symbol',
    call: (value) => loosely(so.getSymbol.bind(so))(value),
    accepted: texts,
  },
  {
    name: 'a float64 of a bound function',
    call: (value) => loosely(quote)(value, 1),
    accepted: ['0', '-1', '1.5', 'NaN', '2^53'],
  },
  {
    name: 'a uint32 of a bound function',
    call: (value) => loosely(quote)(1, value),
    accepted: ['0'],
  },
  {
    name: 'a uint32 of dl.functionAt()',
    call: (value) =>
      loosely(dl.functionAt(address, { arguments: ['float64', 'uint32'], return: 'float64' }))(
        1,
        value,
      ),
    accepted: ['0'],
  },
  {
    name: 'dl.dlopen: path',
    call: (value) => loosely(dl.dlopen)(value),
    accepted: ['null', "''", 'a text'],
  },
  {
    name: 'dl.dlopen: flags',
    call: (value) => loosely(dl.dlopen)(one, value),
    accepted: ['undefined', '0', '-1'],
  },
  { name: 'dl.dlsym: handle', call: (value) => loosely(dl.dlsym)(value, 'count') },
  {
    name: 'dl.dlsym: symbol',
    call: (value) => loosely(dl.dlsym)(handle, value),
    accepted: texts,
  },
  { name: 'dl.dlclose: handle', call: (value) => loosely(dl.dlclose)(value) },
  { name: 'dl.functionAt: address', call: (value) => loosely(dl.functionAt)(value, {}) },
  {
    name: 'dl.functionAt: signature',
    call: (value) => loosely(dl.functionAt)(address, value),
    accepted: [...emptyDefinitions, 'a URL that is not a file'],
  },
];

const wrong = /^ERR_(INVALID_ARG_TYPE|INVALID_ARG_VALUE|INVALID_URL_SCHEME|OUT_OF_RANGE)$/;

for (const { name, call, accepted = [] } of parameters) {
  t.test(`${name}: a wrong value throws, and nothing changes`, async (t) => {
    for (const [what, value] of values) {
      if (accepted.includes(what)) continue;
      const { image } = so;
      const counted = count();
      await t.rejects(async () => call(value), { name: /^(Type|Range)Error$/, code: wrong }, what);
      t.equal(so.image, image, 'the same image');
      t.equal(count(), counted + 1, 'the same state');
    }
  });
}

t.test('an exception from a getter or a proxy goes to the caller', async (t) => {
  const trap = () => {
    throw new Error('trapped');
  };
  const hostile = new Proxy({}, { get: trap, has: trap, ownKeys: trap, getPrototypeOf: trap });
  const before = so.generation;
  for (const call of [
    () => open(one, hostile),
    () => open(one, { count: hostile }),
    () => open(one, {}, hostile),
    () => loosely(so.swapSync.bind(so))(hostile),
    () => loosely(so.getFunction.bind(so))('version', hostile),
  ]) {
    t.throws(call, { message: 'trapped' });
  }
  await t.rejects(async () => loosely(so.swap.bind(so))(hostile), { message: 'trapped' });
  t.equal(so.generation, before);
});

t.test('a getter that closes the handle in the middle does no harm', async (t) => {
  const other = SoHandle.open(one, { count: { return: 'int32' } });
  const closing = {
    get order() {
      other.close();
      return 'close-first' as const;
    },
  };
  t.throws(() => other.swapSync(closing), { code: 'ERR_SOSWAP_CLOSED' });
  t.throws(() => other.functions.count(), { code: 'ERR_SOSWAP_CLOSED' });
});

t.test('a method of something else is a TypeError', async (t) => {
  const { prototype } = SoHandle;
  for (const method of [
    'swap',
    'swapSync',
    'getFunction',
    'getSymbol',
    'status',
    'close',
  ] as const) {
    await t.rejects(async () => loosely(prototype[method]).call({}), TypeError, method);
  }
  for (const args of [[], [one], [one, {}], [one, {}, {}], [one, {}, null]]) {
    t.throws(() => Reflect.construct(SoHandle, args), TypeError);
  }
});
