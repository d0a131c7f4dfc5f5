import { execFileSync } from 'node:child_process';
import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { type RetainReason, SoHandle, type SwapOrder } from 'soswap';
import { functionAt } from 'soswap/dl';
import t, { type Test } from 'tap';
import { compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, plainNode, root, runProgram } from '../fixtures/child.js';

// Symbols for code that calls them by their address.

const builds = twoBuilds(t.testdir());
const orders: SwapOrder[] = ['close-first', 'open-first'];

/** A handle on the first build, whose file is the second. */
function open(t: Test, next = builds.two) {
  const { so, two } = copyBuilds({ ...builds, two: next }, t.testdir());
  const handle = SoHandle.open(so, {});
  renameSync(next === builds.two ? two : next, so);
  t.teardown(() => handle.close());
  return handle;
}

const int32 = { return: 'int32' } as const;
const callAt = (address: bigint) => functionAt(address, int32);

for (const order of orders) {
  t.test(`${order}: a reference has the address of now`, async (t) => {
    const handle = open(t);
    const count = handle.symbolReference('count');
    const next = count.bind(callAt);
    const version = handle
      .symbolReference('version')
      .bind((address) => functionAt(address, { return: 'string' }));
    t.match(count, { symbol: 'count', optional: false, present: true });
    const before = count.address;
    t.equal(before, handle.getSymbol('count'));
    t.same([next(), next(), version()], [1, 2, 'build 1111']);
    await handle.swap({ order });
    t.equal(count.address, handle.getSymbol('count'));
    t.same([next(), count.call(callAt)(), version()], [1, 2, 'build 2222']);
    handle.swapSync({ order });
    t.same([next(), next()], [1, 2]);
    t.same(await count.callAsync(async (address) => address), count.address);
  });

  t.test(`${order}: subscribers hear of each change before the swap reports`, async (t) => {
    const handle = open(t);
    const count = handle.symbolReference('count');
    const heard: unknown[] = [];
    const unsubscribe = count.subscribe((address) => heard.push(address));
    t.teardown(
      count.subscribe(() => {
        for (const forbidden of ['swapSync', 'close'] as const) {
          if (handle.closed) continue;
          t.throws(() => handle[forbidden](), { code: 'ERR_SOSWAP_BUSY' });
        }
      }),
    );
    handle.swapSync({ order });
    t.same(heard, [count.address]);
    await handle.swap({ order });
    t.same(heard[1], count.address);
    renameSync(handle.path, `${handle.path}.away`);
    await t.rejects(handle.swap({ order }), { code: 'ERR_SOSWAP_NOT_FOUND' });
    t.equal(heard.length, 2, 'a refused swap changes nothing');
    unsubscribe();
    unsubscribe();
    const last = count.subscribe((address) => heard.push(address));
    handle.close();
    t.same(heard.slice(2), [undefined]);
    last();
  });

  t.test(
    `${order}: a candidate without the symbol is refused before anything is closed`,
    async (t) => {
      const with_extra = compile(
        'action.c',
        join(t.testdir(), 'so.so'),
        '-DLINE=1',
        '-DWITH_EXTRA',
      );
      const handle = SoHandle.open(with_extra, { extra: { ...int32, optional: true } });
      t.teardown(() => handle.close());
      const optional = handle.symbolReference('extra', { optional: true });
      compile('action.c', `${with_extra}.new`, '-DLINE=2');
      renameSync(`${with_extra}.new`, with_extra);
      const report = await handle.swap({ order });
      t.same(report.missing, ['extra']);
      t.notOk(optional.present);
      t.throws(() => optional.address, { code: 'ERR_SOSWAP_MISSING_SYMBOL', symbol: 'extra' });
      t.throws(() => handle.symbolReference('extra'), { code: 'ERR_SOSWAP_MISSING_SYMBOL' });

      compile('action.c', `${with_extra}.new`, '-DLINE=3', '-DWITH_EXTRA');
      renameSync(`${with_extra}.new`, with_extra);
      await handle.swap({ order });
      t.equal(optional.bind(callAt)(), 3);
      const needed = handle.symbolReference('extra');
      handle.symbolReference('extra');
      compile('action.c', `${with_extra}.new`, '-DLINE=4');
      renameSync(`${with_extra}.new`, with_extra);
      const refused = {
        code: 'ERR_SOSWAP_MISSING_SYMBOL',
        outcome: 'unchanged',
        message: /symbol extra is/,
      };
      await t.rejects(handle.swap({ order }), refused);
      t.throws(() => handle.swapSync({ order }), refused);
      t.equal(needed.bind(callAt)(), 3);
    },
  );
}

t.test('a call that was entered is in flight until it is left', async (t) => {
  const handle = open(t);
  const count = handle.symbolReference('count');
  const busy = { code: 'ERR_SOSWAP_BUSY' };
  const call = count.enter();
  t.equal(call.address, count.address);
  t.throws(() => handle.swapSync(), busy);
  t.throws(() => handle.close(), busy);
  await t.rejects(handle.swap({ timeout: 10 }), busy);
  const swapped = handle.swap();
  setTimeout(() => call.leave(), 20);
  t.match(await swapped, { generation: 2, unmapped: true });

  count.enter();
  t.throws(() => count.call(() => handle.swapSync()), busy);
  const nested = count.bind(() => () => handle.swapSync());
  t.throws(() => nested(), busy);
  t.throws(
    () =>
      count.call(() => {
        throw new Error('mine');
      }),
    { message: 'mine' },
  );
  count.leave();
  let resolve: (value: number) => void = () => {};
  const later = count.call(() => new Promise<number>((done) => (resolve = done)));
  t.throws(() => handle.swapSync(), busy);
  resolve(5);
  t.equal(await later, 5);
  await t.rejects(
    count.call(() => Promise.reject(new Error('async'))),
    { message: 'async' },
  );
  t.match(handle.swapSync(), { generation: 3 });
});

t.test('a call that nobody entered cannot be left', async (t) => {
  const handle = open(t);
  const count = handle.symbolReference('count');
  const invalid = { code: 'ERR_INVALID_STATE' };
  t.throws(() => count.leave(), invalid);
  const call = count.enter();
  call.leave();
  t.throws(() => call.leave(), invalid);
  t.throws(() => count.leave(), invalid);
  call[Symbol.dispose]();
  const [first, second] = [count.enter(), count.enter()];
  first.leave();
  count.leave();
  t.throws(() => second.leave(), invalid);
  count.enter();
  t.throws(() => handle.swapSync(), { code: 'ERR_SOSWAP_BUSY', message: /1 call\(s\)/ });
  count.leave();
  handle.swapSync();
});

t.test('open-first leaves the old image to a call that is not left', async (t) => {
  const handle = open(t);
  const count = handle.symbolReference('count');
  const { address } = count.enter();
  const report = await handle.swap({ order: 'open-first', timeout: 10 });
  t.match(report.retained, [{ code: 'calls-in-flight' } as RetainReason]);
  t.equal(callAt(address)(), 1, 'its code is there');
  const unmapped = new Promise((resolve) => handle.once('unmapped', resolve));
  const inNew = count.enter();
  t.throws(() => handle.close(), { message: /1 call\(s\)/ });
  inNew.leave();
  count.leave();
  t.match(await unmapped, { generation: 1 });
});

t.test('a call that can wait waits while close-first waits for others', async (t) => {
  const handle = open(t);
  const version = handle.symbolReference('version');
  const read = (address: bigint) => functionAt(address, { return: 'string' })();
  const call = version.enter();
  const swapped = handle.swap();
  for (let waits = false; !waits; ) {
    let begun = false;
    void version.callAsync(() => (begun = true));
    waits = !begun;
    await new Promise((resolve) => setImmediate(resolve));
  }
  const order: unknown[] = [];
  const waiting = version.callAsync((address) => {
    order.push('begun');
    return read(address);
  });
  const failing = version.callAsync(() => {
    throw new Error('mine');
  });
  order.push('waits');
  t.equal(version.call(read), 'build 1111', 'a blocking one does not');
  call.leave();
  t.equal(await waiting, 'build 2222');
  await t.rejects(failing, { message: 'mine' });
  t.same(order, ['waits', 'begun']);
  await swapped;
  const immediate = version.callAsync((address) => order.push(address));
  t.equal(order.length, 3, 'without a swap it begins at once');
  await immediate;
  handle.close();
  await t.rejects(version.callAsync(read), { code: 'ERR_SOSWAP_CLOSED' });
});

t.test('after close() everything throws, and the handle emits close', async (t) => {
  const handle = open(t);
  const count = handle.symbolReference('count');
  const next = count.bind(callAt);
  const closed: unknown[] = [];
  handle.on('close', (result) => closed.push(result));
  next();
  handle.close();
  handle.close();
  t.same(closed, [{ unmapped: true, retained: [] }]);
  const code = 'ERR_SOSWAP_CLOSED';
  for (const use of [() => count.address, () => count.enter(), () => count.call(callAt), next]) {
    t.throws(use, { code, path: handle.path, symbol: 'count' });
  }
  t.notOk(count.present);
  t.throws(() => handle.symbolReference('count'), { code });
});

t.test('wrong arguments are refused', async (t) => {
  const handle = open(t);
  const wrong: unknown[][] = [
    [],
    [1],
    [null],
    ['count', null],
    ['count', 1],
    ['count', { optional: 1 }],
  ];
  const refer = (...values: unknown[]) => handle.symbolReference(...(values as [string]));
  for (const values of wrong) {
    t.throws(
      () => refer(...values),
      { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' },
      `${values}`,
    );
  }
  for (const name of ['', 'a\0b']) t.throws(() => refer(name), { code: 'ERR_INVALID_ARG_VALUE' });
  t.throws(() => refer('nowhere'), { code: 'ERR_SOSWAP_MISSING_SYMBOL', symbol: 'nowhere' });
  const count = handle.symbolReference('count');
  const noFunction = { code: 'ERR_INVALID_ARG_TYPE' };
  t.throws(() => count.bind(5 as never), noFunction);
  t.throws(() => count.bind((() => 5) as never)(), noFunction);
  t.throws(() => count.subscribe(undefined as never), noFunction);
  t.throws(() => count.call(undefined as never), TypeError);
  await t.rejects(count.callAsync(undefined as never), TypeError);
  handle.swapSync(); // none of them is in flight
});

t.test('what makes the function may swap', async (t) => {
  const handle = open(t);
  let made = 0;
  const version = handle.symbolReference('version').bind((address) => {
    if (++made === 1) handle.swapSync();
    return functionAt(address, { return: 'string' });
  });
  t.same([version(), version(), made], ['build 2222', 'build 2222', 2]);
});

t.test('an image with a call in flight survives its handle, and its worker', async (t) => {
  const { so } = copyBuilds(builds, t.testdir());
  const program = `
    import { Worker } from 'node:worker_threads';
    import { loaded, SoHandle } from 'soswap';
    const source = \`
      const { SoHandle } = require('soswap');
      SoHandle.open(${JSON.stringify(so)}).symbolReference('count').enter();
    \`;
    const worker = new Worker(source, { eval: true, execArgv: [] });
    await new Promise((resolve) => worker.on('exit', resolve));
    (() => SoHandle.open(${JSON.stringify(so)}).symbolReference('count').enter())();
    SoHandle.open(${JSON.stringify(so)}).symbolReference('count').enter().leave();
    const inFlight = () => loaded().filter(({ retained }) => retained[0]?.code === 'calls-in-flight');
    for (let round = 0; inFlight().length < 2 && round < 100; round++) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    console.log(loaded().length, inFlight().map(({ callsInFlight }) => callsInFlight));
  `;
  const ended = await runProgram(program, { cwd: root }, '--expose-gc');
  t.match(ended, { ...exitedCleanly, stdout: '2 [ 1, 1 ]\n' });
});

const node26 = join(root, 'build/runtimes/node_modules/node-26/bin/node');
const executable = process.version.startsWith('v26.') ? process.execPath : node26;
t.test(
  'node:ffi gets addresses that follow swaps',
  {
    skip: existsSync(executable) ? false : 'needs Node.js 26: tools/runtimes',
  },
  async (t) => {
    const directory = t.testdir();
    const [one, two] = [1, 2].map((scale) =>
      compile('composite.c', join(directory, `${scale}.so`), `-DSCALE=${scale}`),
    );
    const program = `
    import ffi from 'node:ffi';
    import { renameSync } from 'node:fs';
    import { SoHandle } from 'soswap';
    const { functions: { qsort } } = ffi.dlopen('libc.so.6', {
      qsort: { arguments: ['buffer', 'uint64', 'uint64', 'function'], return: 'void' },
    });
    const handle = SoHandle.open('${one}');
    const compare = handle.symbolReference('compare_numbers');
    const counter = handle.symbolReference('counter');
    const sorted = () => {
      const numbers = new Int32Array([3, 1, 2]);
      compare.call((address) => qsort(numbers, 3n, 4n, address));
      return [...numbers].join(' ');
    };
    console.log(sorted(), counter.call((address) => ffi.getInt32(address)));
    renameSync('${two}', '${one}');
    for (const order of ['close-first', 'open-first']) {
      await handle.swap({ order });
      console.log(sorted(), counter.call((address) => ffi.getInt32(address)));
    }
    counter.call((address) => ffi.setInt32(address, 0, 7));
    console.log(ffi.getInt32(counter.address));
    handle.close();
  `;
    const [command, args] = plainNode(['--input-type=module', '--eval', program]);
    args[2] = executable;
    const flags = ['--experimental-ffi', '--no-warnings'];
    const output = execFileSync(command, args.toSpliced(3, 0, ...flags), {
      cwd: root,
      encoding: 'utf8',
    });
    t.equal(output, '1 2 3 10\n3 2 1 20\n3 2 1 20\n7\n');
  },
);
