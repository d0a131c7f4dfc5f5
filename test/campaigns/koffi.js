// Calls functions of soswap/koffi while their libraries are swapped: SQLite, zlib, and one with structures, unions, arrays and
// callbacks. Each call is checked. Needs libsqlite3-0 and zlib1g of Debian.
//
//   npm run build
//   node --expose-gc test/campaigns/koffi.js
//   … test/campaigns/koffi.js --calls 1000000 --every 2 --workers 3
//
// Prints how many calls and swaps there were. Exits with 1 at the first wrong value.

import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { inflateSync } from 'node:zlib';
import koffi from 'koffi';
import { loaded, SoHandle } from 'soswap';
import { koffiFunctions, koffiVariable, registered } from 'soswap/koffi';
import { compile } from '../../fixtures/compile.js';

const { values } = parseArgs({
  args: isMainThread ? process.argv.slice(2) : workerData.args,
  options: {
    calls: { type: 'string', default: '100000' },
    every: { type: 'string', default: '10' },
    workers: { type: 'string', default: '0' },
  },
});

const directory = mkdtempSync(join(tmpdir(), 'soswap-koffi-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

/** The libraries of this thread, whose files this thread replaces. */
const builds = isMainThread
  ? ['1', '2'].map((scale) =>
      compile('composite.c', join(directory, `${scale}.so`), `-DSCALE=${scale}`),
    )
  : workerData.builds;

/** Opens a copy of a library of the system. */
function openCopy(name) {
  const path = join(directory, name);
  const found = SoHandle.open(name);
  copyFileSync(found.path, path);
  found.close();
  return SoHandle.open(path);
}

koffi.struct('Point', { x: 'double', y: 'double' });
koffi.union('Word', { integer: 'int32', real: 'float' });
koffi.struct('Grid', {
  cells: koffi.array(koffi.array('int32', 3), 2, 'Array'),
  corners: koffi.array('Point', 2),
  name: koffi.array('char', 16, 'String'),
});
koffi.proto('int Visit(double x, double y)');
koffi.proto('int Compare(const void *one, const void *other)');

const path = join(directory, 'composite.so');
let flips = 0;
function flip() {
  symlinkSync(builds[flips++ % 2], `${path}.next`);
  renameSync(`${path}.next`, path);
}
flip();
const composite = SoHandle.open(path);
const of = koffiFunctions(composite, {
  scale: 'int scale()',
  length_squared: 'double length_squared(Point p)',
  moved: 'Point moved(Point p, double by)',
  word_of: 'Word word_of(float real)',
  grid_of: 'Grid grid_of(int32_t first)',
  sum_of_grid: 'int32_t sum_of_grid(const Grid *grid)',
  divide: 'void divide(int a, int b, _Out_ int *quotient, _Out_ int *remainder)',
  each: 'int each(const Point *points, int count, Visit *visit)',
  sum: 'int sum(int count, ...)',
  sort: 'void sort(void *base, size_t count, size_t size, Compare *compare)',
  slow: 'int slow(int microseconds)',
});
const counter = koffiVariable(composite, 'counter', 'int');
const product = registered(composite, (x, y) => x * y, 'Visit *');

const sqlite = openCopy('libsqlite3.so.0');
koffi.opaque('sqlite3');
koffi.proto('int Row(void *data, int columns, char **values, char **names)');
const { sqlite3_free } = koffiFunctions(sqlite, {
  sqlite3_free: 'void sqlite3_free(void *memory)',
});
koffi.disposable('SqliteText', 'str', sqlite3_free);
const sql = koffiFunctions(sqlite, {
  open: 'int sqlite3_open(const char *file, _Out_ sqlite3 **database)',
  exec: 'int sqlite3_exec(sqlite3 *database, const char *sql, Row *row, void *data, _Out_ SqliteText *error)',
  close: 'int sqlite3_close(sqlite3 *database)',
  mprintf: 'SqliteText sqlite3_mprintf(const char *format, ...)',
});

const zlib = openCopy('libz.so.1');
koffi.struct('z_stream', {
  next_in: 'void *',
  avail_in: 'uint',
  total_in: 'ulong',
  next_out: 'void *',
  avail_out: 'uint',
  total_out: 'ulong',
  msg: 'const char *',
  state: 'void *',
  zalloc: 'void *',
  zfree: 'void *',
  opaque: 'void *',
  data_type: 'int',
  adler: 'ulong',
  reserved: 'ulong',
});
const deflating = koffiFunctions(zlib, {
  version: 'const char *zlibVersion()',
  init: 'int deflateInit_(z_stream *stream, int level, const char *version, int size)',
  deflate: 'int deflate(z_stream *stream, int flush)',
  end: 'int deflateEnd(z_stream *stream)',
});
const stream = koffi.alloc('z_stream', 1);

/** What is called, and how many calls that makes. Nothing here waits, so that no swap comes in between. */
const works = [
  function structures() {
    const scale = of.scale();
    assert.equal(of.length_squared({ x: 3, y: 4 }), 25 * scale);
    assert.deepEqual(of.moved({ x: 1, y: 1 }, 2), { x: 1 + 2 * scale, y: 1 - 2 * scale });
    assert.equal(of.word_of(1.5).real, 1.5 * scale);
    assert.equal(counter.value, 10 * scale);
    return 4;
  },
  function arrays() {
    const scale = of.scale();
    const grid = of.grid_of(5);
    assert.equal(grid.cells[1][2], 5 + 5 * scale);
    assert.equal(of.sum_of_grid(grid), (30 + 15 * scale + 5) * scale);
    const out = [[0], [0]];
    of.divide(17, 5, ...out);
    assert.deepEqual(out, [[3 * scale], [2 * scale]]);
    return 4;
  },
  function callbacks() {
    const scale = of.scale();
    const points = [
      { x: 1, y: 2 },
      { x: 3, y: 4 },
    ];
    assert.equal(
      of.each(points, 2, (x, y) => x * y),
      14 * scale,
    );
    assert.equal(of.each(points, 2, product), 14 * scale);
    const thrown = new Error();
    const throws = () => {
      throw thrown;
    };
    assert.throws(() => of.each(points, 2, throws), thrown);
    const busy = { code: 'ERR_SOSWAP_BUSY' };
    of.each(points, 1, () => assert.throws(() => composite.swapSync(), busy) ?? 0);
    assert.equal(of.sum(2, 'int', 4, 'int', 5), 9 * scale);
    const numbers = new Int32Array([3, 1, 2]);
    of.sort(numbers, 3, 4, (a, b) => koffi.decode(a, 'int') - koffi.decode(b, 'int'));
    assert.deepEqual([...numbers], [1, 2, 3]);
    return 7;
  },
  function queries() {
    const database = [null];
    assert.equal(sql.open(':memory:', database), 0);
    const rows = [];
    const row = (_data, columns, values) => {
      rows.push(koffi.decode(values, 'char *', columns));
      return 0;
    };
    const text = 'CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 2), (3, NULL); SELECT * FROM t';
    const error = [null];
    assert.equal(sql.exec(database[0], text, row, null, error), 0);
    assert.deepEqual(rows, [
      ['1', '2'],
      ['3', null],
    ]);
    assert.equal(sql.exec(database[0], 'SELECT nowhere', null, null, error), 1);
    assert.deepEqual(error, ['no such column: nowhere']);
    const quoted = sql.mprintf('%d %Q', 'int', 42, 'str', "it's");
    assert.equal(quoted, "42 'it''s'");
    assert.equal(sql.close(database[0]), 0);
    return 7; // with two of sqlite3_free()
  },
  function compression() {
    const input = Buffer.from('hello, hello, hello, hello');
    const output = Buffer.alloc(100);
    koffi.encode(stream, 'z_stream', {
      next_in: koffi.address(input),
      avail_in: input.length,
      total_in: 0,
      next_out: koffi.address(output),
      avail_out: output.length,
      total_out: 0,
      msg: null,
      state: null,
      zalloc: null,
      zfree: null,
      opaque: null,
      data_type: 0,
      adler: 0,
      reserved: 0,
    });
    assert.equal(deflating.init(stream, 9, deflating.version(), koffi.sizeof('z_stream')), 0);
    assert.equal(deflating.deflate(stream, 4), 1);
    const { total_out } = koffi.decode(stream, 'z_stream');
    assert.equal(deflating.end(stream), 0);
    assert.deepEqual(inflateSync(output.subarray(0, Number(total_out))), input);
    return 4;
  },
];

// The threads do the same at the same time.
const started = Array.from({ length: isMainThread ? Number(values.workers) : 0 }, () => {
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { builds, args: process.argv.slice(2) },
  });
  return new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject));
});

let swaps = 0;
const swapping = new Set();
const timer = setInterval(() => {
  for (const handle of [composite, sqlite, zlib]) {
    if (swapping.has(handle)) continue;
    swapping.add(handle);
    if (handle === composite) flip();
    const order = swaps++ % 2 === 0 ? 'close-first' : 'open-first';
    handle.swap({ order }).then(
      ({ retained }) => {
        assert.deepEqual(retained, []);
        swapping.delete(handle);
      },
      (error) => {
        throw error;
      },
    );
  }
}, Number(values.every));

let calls = 0;
const settled = [];
for (let round = 0; calls < Number(values.calls); round++) {
  calls += works[round % works.length]();
  if (round % 7 === 0) {
    settled.push(of.slow.async(round % 300));
    calls++;
  }
  if (round % 20 === 0) await setImmediate();
}
for (const scale of await Promise.all(settled)) assert.ok(scale === 1 || scale === 2);
clearInterval(timer);
while (swapping.size > 0) await setImmediate();
for (const handle of [composite, sqlite, zlib]) assert.deepEqual(handle.close().retained, []);
assert.throws(() => of.scale(), { code: 'ERR_SOSWAP_CLOSED' });

if (isMainThread) {
  for (const done of await Promise.all(started)) {
    calls += done.calls;
    swaps += done.swaps;
  }
  assert.equal(koffi.stats().callbacks, 0);
  assert.deepEqual(
    loaded().filter(({ path }) => path.startsWith(directory)),
    [],
  );
  console.log(`${calls} calls, ${swaps} swaps, nothing wrong`);
} else {
  parentPort.postMessage({ calls, swaps });
}
