import { copyFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';
import { SoHandle, type SwapOrder } from 'soswap';
import { koffiFunctions, koffiVariable, registered, unregister } from 'soswap/koffi';
import t, { type Test } from 'tap';
import { compile } from '../fixtures/build.js';

// Structures, unions, arrays, callbacks, variadic functions and variables that follow swaps.

const directory = t.testdir();
const [one, two, extra] = ([['1'], ['2'], ['1', '-DWITH_EXTRA']] as const).map(
  ([scale, ...flags], index) =>
    compile('composite.c', join(directory, `${index}.so`), `-DSCALE=${scale}`, ...flags),
) as [string, string, string];
const orders: SwapOrder[] = ['close-first', 'open-first'];

koffi.struct('Point', { x: 'double', y: 'double' });
koffi.union('Word', { integer: 'int32', real: 'float', bytes: koffi.array('uint8', 4) });
koffi.struct('Grid', {
  cells: koffi.array(koffi.array('int32', 3), 2, 'Array'),
  corners: koffi.array('Point', 2),
  name: koffi.array('char', 16, 'String'),
});
koffi.proto('int Visit(double x, double y)');
koffi.proto('int Compare(const void *one, const void *other)');
const free = SoHandle.open('libc.so.6', { free: { arguments: ['pointer'] } }).functions.free;
let freed = 0;
koffi.disposable('Text', 'str', (address: bigint) => {
  freed++;
  free(address);
});

interface Point {
  x: number;
  y: number;
}

interface Functions {
  scale(): number;
  length_squared(point: Point): number;
  moved(point: Point, by: number): Point;
  integer_of(word: { integer: number } | { real: number }): number;
  word_of(real: number): { integer: number; real: number; bytes: number[] };
  sum_of_grid(grid: object): number;
  grid_of(first: number): { cells: Int32Array[]; corners: Point[]; name: string };
  divide(dividend: number, divisor: number, quotient: number[], remainder: number[]): void;
  text_of(number: number): string;
  each(points: Point[], count: number, visit: unknown): number;
  keep(visit: bigint): void;
  call_kept(x: number): number;
  sum(count: number, ...rest: unknown[]): number;
  sort(base: Int32Array, count: number, size: number, compare: unknown): void;
  slow(microseconds: number): number;
}

const prototypes = {
  scale: 'int scale()',
  length_squared: 'double length_squared(Point p)',
  moved: 'Point moved(Point p, double by)',
  integer_of: 'int32_t integer_of(Word word)',
  word_of: 'Word word_of(float real)',
  sum_of_grid: 'int32_t sum_of_grid(const Grid *grid)',
  grid_of: 'Grid grid_of(int32_t first)',
  divide: 'void divide(int a, int b, _Out_ int *quotient, _Out_ int *remainder)',
  text_of: 'Text text_of(int number)',
  each: 'int each(const Point *points, int count, Visit *visit)',
  keep: 'void keep(Visit *visit)',
  call_kept: 'int call_kept(double x)',
  sum: 'int sum(int count, ...)',
  sort: 'void sort(void *base, size_t count, size_t size, Compare *compare)',
  slow: 'int slow(int microseconds)',
};

/** A handle on a copy of a build, whose file is the other. */
function open(t: Test, first = one, second = two) {
  const so = join(t.testdir(), 'so.so');
  copyFileSync(first, so);
  const handle = SoHandle.open(so, {
    each: { arguments: ['buffer', 'int32', 'function'], return: 'int32' },
  });
  replace(handle, second);
  t.teardown(() => handle.closed || handle.close());
  return { handle, call: koffiFunctions<Functions>(handle, prototypes) };
}

function replace({ path }: SoHandle, build: string) {
  copyFileSync(build, `${path}.new`);
  renameSync(`${path}.new`, path);
}

const plain = (value: unknown) => JSON.parse(JSON.stringify(value));

/** Calls everything; `scale` says which build should have run. */
function check(t: Test, call: ReturnType<typeof open>['call'], scale: number) {
  t.equal(call.length_squared({ x: 3, y: 4 }), 25 * scale, 'a structure by value');
  t.same(call.moved({ x: 1, y: 1 }, 2), { x: 1 + 2 * scale, y: 1 - 2 * scale }, 'and returned');
  t.equal(call.integer_of({ integer: 21 }), 21 * scale, 'a union');
  t.equal(call.word_of(1.5).real, 1.5 * scale, 'and returned');
  const grid = call.grid_of(1);
  const cells = [0, 1, 2, 3, 4, 5].map((cell) => 1 + cell * scale);
  t.same(
    [...grid.cells].flatMap((row) => [...row]),
    cells,
    'nested arrays',
  );
  t.match(plain(grid), {
    corners: [
      { x: 1, y: 2 },
      { x: 3, y: 4 },
    ],
    name: `grid ${scale}`,
  });
  const sum = cells.reduce((sum, cell) => sum + cell) + 1 + 4;
  t.equal(call.sum_of_grid(grid), sum * scale, 'and by pointer');
  const [quotient, remainder] = [[0], [0]];
  call.divide(17, 5, quotient, remainder);
  t.same([quotient, remainder], [[3 * scale], [2 * scale]], 'out parameters');
  const before = freed;
  t.equal(call.text_of(7), `7 × ${scale}`, 'a disposable string');
  t.equal(freed, before + 1);
  const points = [
    { x: 1, y: 2 },
    { x: 3, y: 4 },
  ];
  t.equal(
    call.each(points, 2, (x: number, y: number) => x * y),
    14 * scale,
    'a callback',
  );
  t.equal(call.sum(3, 'int', 1, 'int', 2, 'int', 3), 6 * scale, 'variadic');
  t.equal(call.sum(0), 0);
  t.equal(call.sum(6, ...[1, 2, 3, 4, 5, 6].flatMap((each) => ['int', each])), 21 * scale);
  const numbers = new Int32Array([3, 1, 2]);
  call.sort(
    numbers,
    3,
    4,
    (a: bigint, b: bigint) => koffi.decode(b, 'int') - koffi.decode(a, 'int'),
  );
  t.same([...numbers], [3, 2, 1], 'qsort with a comparator');
}

for (const order of orders) {
  t.test(`${order}: every kind of call, before and after swaps`, async (t) => {
    const { handle, call } = open(t);
    check(t, call, 1);
    const report = await handle.swap({ order });
    t.match(report, { unmapped: true, retained: [] });
    check(t, call, 2);
    replace(handle, one);
    handle.swapSync({ order });
    check(t, call, 1);
    t.equal(await call.length_squared.async({ x: 1, y: 1 }), 2);
    handle.close();
    const closed = { code: 'ERR_SOSWAP_CLOSED', path: handle.path };
    t.throws(() => call.scale(), closed);
    t.throws(() => call.sum(1, 'int', 1), closed);
    await t.rejects(call.slow.async(1), closed);
  });

  t.test(`${order}: an asynchronous call keeps its image`, async (t) => {
    const { handle, call } = open(t);
    const slow = call.slow.async(50_000);
    t.throws(() => handle.swapSync({ order }), { code: 'ERR_SOSWAP_BUSY' });
    t.throws(() => handle.close(), { code: 'ERR_SOSWAP_BUSY' });
    const swapped = handle.swap({ order });
    const later: Promise<number>[] = [];
    const timer = setInterval(() => later.push(call.slow.async(1)), 5);
    t.match(await swapped, { unmapped: true, retained: [] });
    clearInterval(timer);
    t.equal(await slow, 1);
    const values = await Promise.all(later);
    t.ok(values.includes(2) || order === 'open-first', `${values}`);
    t.same(values, values.toSorted(), 'none runs the old image after the new one');
  });

  t.test(`${order}: variables are those of the image that runs`, async (t) => {
    const { handle } = open(t);
    const counter = koffiVariable(handle, 'counter', 'int');
    const origin = koffiVariable<Point>(handle, 'origin', koffi.type('Point'));
    const label = koffiVariable(handle, 'label', 'const char *');
    t.same([counter.value, origin.value, label.value], [10, { x: 1, y: -1 }, 'one']);
    counter.value = 5;
    origin.value = { x: 7, y: 8 };
    label.value = 'mine';
    t.same([counter.value, origin.value, label.value], [5, { x: 7, y: 8 }, 'mine']);
    t.equal(counter.address, handle.getSymbol('counter'));
    await handle.swap({ order });
    t.same([counter.value, origin.value, label.value], [20, { x: 2, y: -2 }, 'two']);
    const refused: unknown[] = [];
    origin.value = {
      get x() {
        t.throws(() => handle.swapSync(), { code: 'ERR_SOSWAP_BUSY' });
        return refused.push(1);
      },
      y: 1,
    };
    t.same(origin.value, { x: 1, y: 1 });
    handle.close();
    t.throws(() => counter.value, { code: 'ERR_SOSWAP_CLOSED' });
    t.throws(
      () => {
        counter.value = 1;
      },
      { code: 'ERR_SOSWAP_CLOSED' },
    );
  });
}

t.test('symbols, names and optional functions', async (t) => {
  const { handle } = open(t, extra, two);
  const Length = koffi.proto('double (Point p)');
  const call = koffiFunctions(handle, {
    area: 'double length_squared(Point p)',
    length_squared: Length,
    other: { prototype: Length, symbol: 'length_squared' },
    extra: { prototype: 'int extra(int number)', optional: true },
    scale: { prototype: 'int (void)', optional: true },
    nowhere: { prototype: 'const char *nowhere(unsigned int n)', optional: true },
    failing: { prototype: 'int fail_with(int error)', errno: true },
  });
  const kept = call.extra;
  const point = { x: 1, y: 2 };
  t.same([call.area(point), call.length_squared(point), call.other(point)], [5, 5, 5]);
  t.same([kept?.(3), call.scale?.(), call.nowhere], [3, 1, null]);
  t.same(call.failing(13), { value: -1, errno: 13 });
  t.same(call.failing(0), { value: -1, errno: 0 });
  t.same(await call.failing.async(14), { value: -1, errno: 14 });
  t.same([call.area.name, call.area.length], ['area', 1]);
  await handle.swap();
  t.same([call.area(point), call.extra], [10, null]);
  t.throws(() => kept?.(3), { code: 'ERR_SOSWAP_MISSING_SYMBOL', symbol: 'extra' });
  replace(handle, extra);
  await handle.swap();
  t.same([call.extra?.(3), call.extra], [3, kept]);
  koffiFunctions(handle, { extra: 'int extra(int number)' });
  replace(handle, two);
  const refused = { code: 'ERR_SOSWAP_MISSING_SYMBOL', outcome: 'unchanged' };
  await t.rejects(handle.swap(), refused);
  t.equal(kept?.(3), 3);
});

t.test('an exception in a callback is thrown by the call that it happened in', async (t) => {
  const { handle, call } = open(t);
  const points = [
    { x: 1, y: 2 },
    { x: 3, y: 4 },
  ];
  const mine = new Error('mine');
  const throwing = () => {
    throw mine;
  };
  const visit = registered(handle, throwing, 'Visit *');
  const emitted: unknown[] = [];
  handle.on('error', (error) => emitted.push(error));
  for (const callback of [throwing, visit]) {
    t.throws(() => call.each(points, 2, callback), mine);
    t.equal(
      call.each(points, 2, (x: number) => x),
      4,
      'and by no other',
    );
  }
  await t.rejects(call.each.async(points, 2, throwing), mine);
  t.same(emitted, []);
  t.equal(await call.each.async(points, 1, visit), 0);
  t.same(emitted, [mine], 'or emitted');
  t.equal(handle.functions.each(new Float64Array(4), 2, visit), 0);
  t.same(emitted, [mine, mine, mine], 'also from a bound function');
  t.equal(call.scale(), 1, 'which leaves nothing behind');
  t.throws(() => call.each(points, 1, () => handle.close()), { code: 'ERR_SOSWAP_BUSY' });
  t.throws(() => call.each(points, 1, () => handle.swapSync()), { code: 'ERR_SOSWAP_BUSY' });
  t.throws(() => call.each(points, 1, () => call.each(points, 1, throwing)), mine);
});

t.test('a registered callback ends with its handle', async (t) => {
  const { handle, call } = open(t);
  const before = koffi.stats().callbacks;
  const visit = registered(
    handle,
    (x: number, y: number) => x * 10 + y,
    koffi.pointer(koffi.type('Visit')),
  );
  const other = registered(handle, () => unregister(handle, other) ?? 9, koffi.type('Visit'));
  call.keep(visit);
  t.equal(call.call_kept(3), 31);
  await handle.swap();
  t.equal(call.call_kept(3), -1, 'the new image has not got it');
  call.keep(other);
  t.equal(call.call_kept(3), 9, 'it may unregister itself');
  await new Promise((resolve) => setImmediate(resolve));
  t.throws(() => unregister(handle, other), { code: 'ERR_INVALID_ARG_VALUE' });
  t.equal(koffi.stats().callbacks, before + 1);
  handle.close();
  t.equal(koffi.stats().callbacks, before);
  t.throws(() => registered(handle, () => 1, 'Visit *'), { code: 'ERR_SOSWAP_CLOSED' });
});

t.test('koffi.async as koffi calls it', async (t) => {
  const { handle, call } = open(t);
  const result = await new Promise((resolve) => {
    t.equal(
      call.slow.async(1, (...values) => resolve(values)),
      undefined,
    );
  });
  t.same(result, [null, 1]);
  handle.close();
  const [error] = await new Promise<unknown[]>((resolve) => {
    call.slow.async(1, (...values) => resolve(values));
  });
  t.match(error, { code: 'ERR_SOSWAP_CLOSED' });
});

t.test('wrong arguments are refused, and leave nothing in flight', async (t) => {
  const { handle, call } = open(t);
  const make = (...values: unknown[]) => koffiFunctions(...(values as [SoHandle, object]));
  const type = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
  const value = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' };
  for (const wrong of [
    [],
    [{}],
    [handle],
    [handle, null],
    [handle, []],
    [handle, { a: 1 }],
    [handle, { a: null }],
    [handle, { a: koffi.type('Point') }],
    [handle, { a: { prototype: 'int (int)', optional: 1 } }],
    [handle, { a: { prototype: 'int (int)', symbol: 1 } }],
    [handle, { a: {} }],
  ]) {
    t.throws(() => make(...wrong), type);
  }
  for (const wrong of [
    '',
    'int',
    'int f(',
    'int f(Nothing n)',
    'Nothing f()',
    'int f(int a) {',
    'int f(int a[3])',
  ]) {
    t.throws(
      () => make(handle, { f: wrong }),
      { ...value, message: /"f.prototype" is no prototype/ },
      wrong,
    );
  }
  t.throws(() => make(handle, { scale: { prototype: 'int scale()', async: true } }), value);
  const missing = { scale: 'int scale()', one: 'int absent_one()', two: 'int absent_two()' };
  t.throws(() => make(handle, missing), {
    code: 'ERR_SOSWAP_MISSING_SYMBOL',
    message: /absent_one, absent_two/,
  });
  t.throws(() => (call.length_squared as unknown as () => number)(), TypeError);
  t.throws(() => call.length_squared(5 as never), TypeError);
  t.throws(() => call.sum(1, 'int'), { message: /Missing value/ });
  await t.rejects((call.slow.async as () => Promise<number>)(), TypeError);
  await t.rejects(call.slow.async('x' as never), TypeError);
  t.throws(() => koffiVariable(handle, 'counter', 'Nothing'), /Nothing/);
  t.throws(() => koffiVariable(handle, 'counter', 5 as never), type);
  t.throws(() => koffiVariable(handle, 'nowhere', 'int'), { code: 'ERR_SOSWAP_MISSING_SYMBOL' });
  t.throws(() => registered(handle, 5 as never, 'Visit *'), type);
  t.throws(() => registered(handle, () => 1, 5 as never), type);
  t.throws(() => registered({} as never, () => 1, 'Visit *'), type);
  t.throws(() => unregister(handle, 5n), value);
  handle.swapSync();
});
