import { copyFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import { type Definitions, SoHandle } from 'soswap';
import { functionAt } from 'soswap/dl';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, root, runProgram } from '../fixtures/child.js';

const directory = t.testdir();
const library = compile('errno.c', join(directory, 'errno.so'));
const throwing = compile('throws.cc', join(directory, 'throws.so'));

const definitions = {
  callback_then_fail: { arguments: ['pointer', 'int32'], return: 'int32', errno: true },
  errno_at_entry: { return: 'int32', errno: true },
  fail_in_silence: { arguments: ['int32'], errno: true },
  fail_slowly: { arguments: ['int32', 'uint32'], return: 'int32', nonblocking: true, errno: true },
  fail_with: { arguments: ['int32'], return: 'int32', errno: true },
  many: {
    arguments: [
      ...(['f64', 'i32', 'f64', 'i64', 'f64', 'i32'] as const),
      ...(['f64', 'i32', 'f64', 'i32', 'f64', 'i32'] as const),
    ],
    return: 'f64',
    errno: true,
  },
  text_and_errno: { arguments: ['string', 'int32'], return: 'string', errno: true },
} as const satisfies Definitions;

const so = SoHandle.open(library, definitions);
const call = so.functions;
t.teardown(() => so.close());

t.test('a call returns its value and its errno', async (t) => {
  t.strictSame(call.fail_with(5), { value: -1, errno: 5 });
  t.strictSame(call.fail_in_silence(7), { value: undefined, errno: 7 });
  t.strictSame(call.text_and_errno('text', 9), { value: 'text', errno: 9 });
  t.strictSame(call.text_and_errno(null, 9), { value: null, errno: 9 });
  t.strictSame(call.many(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), { value: 66, errno: 12 });
  t.strictSame(await call.fail_slowly(3, 0), { value: 3, errno: 3 });
});

t.test('errno is 0 when the function begins', async (t) => {
  for (const error of [1, 2, constants.errno.ENOENT]) {
    call.fail_with(error);
    t.strictSame(call.errno_at_entry(), { value: 0, errno: 0 });
  }
});

t.test('a function of the C library leaves the reason of its failure', async (t) => {
  const { open, close } = SoHandle.open('libc.so.6', {
    open: { arguments: ['string', 'int32'], return: 'int32', errno: true },
    close: { arguments: ['int32'], return: 'int32', errno: true, nonblocking: true },
  }).functions;
  t.strictSame(open('/nowhere/at/all', 0), { value: -1, errno: constants.errno.ENOENT });
  const { value, errno } = open('/dev/null', 0);
  t.strictSame([value >= 0, errno], [true, 0]);
  t.strictSame(await close(value), { value: 0, errno: 0 });
  t.strictSame(await close(-1), { value: -1, errno: constants.errno.EBADF });
});

t.test('100,000 calls with garbage in between', async (t) => {
  let wrong = 0;
  let garbage: unknown[] = [];
  for (let index = 0; index < 100_000; index++) {
    const error = 1 + (index % 130);
    const result = call.fail_with(error);
    garbage.push(new Array(100));
    if (garbage.length > 1000) garbage = [];
    if (result.errno !== error || result.value !== -1) wrong++;
  }
  t.equal(wrong, 0);
});

t.test('nonblocking calls at the same time each have their own', async (t) => {
  const errors = Array.from({ length: 200 }, (_, index) => index + 1);
  const results = errors.map((error) => call.fail_slowly(error, error % 7));
  t.strictSame(call.fail_with(500), { value: -1, errno: 500 });
  const settled = await Promise.all(results);
  t.strictSame(
    settled,
    errors.map((error) => ({ value: error, errno: error })),
  );
});

t.test('a call inside of a call has its own', async (t) => {
  const inner: unknown[] = [];
  const callback = koffi.register(
    () => {
      inner.push(call.fail_with(77), call.errno_at_entry());
      return 8;
    },
    koffi.pointer(koffi.proto('int inner()')),
  );
  const address = koffi.address(callback);
  t.strictSame(call.callback_then_fail(address, 5), { value: 8, errno: 5 });
  t.strictSame(inner, [
    { value: -1, errno: 77 },
    { value: 0, errno: 0 },
  ]);
  koffi.unregister(callback);
});

t.test('a call leaves errno of its thread as it was', async (t) => {
  const entry = SoHandle.open(library, { errno_at_entry: { return: 'int32' } });
  const setter = SoHandle.open(library, { fail_with: { arguments: ['int32'], return: 'int32' } });
  let same = 0;
  for (let index = 0; index < 100; index++) {
    setter.functions.fail_with(33);
    call.fail_with(44);
    if (entry.functions.errno_at_entry() === 33) same++;
  }
  t.ok(same > 90, `${same} of 100`); // V8 may make a system call in between
  entry.close();
  setter.close();
});

t.test('the errno of a call stays what it was over a swap', async (t) => {
  const path = join(t.testdir(), 'errno.so');
  copyFileSync(library, path);
  const { fail_slowly, fail_with } = definitions;
  const handle = SoHandle.open(path, { fail_slowly, fail_with });
  const before = handle.functions.fail_with(5);
  const slow = handle.functions.fail_slowly(6, 50);
  await handle.swap({ order: 'open-first' });
  const after = handle.functions.fail_with(7);
  t.strictSame([before.errno, (await slow).errno, after.errno], [5, 6, 7]);
  handle.close();
  t.throws(() => handle.functions.fail_with(1), { code: 'ERR_SOSWAP_CLOSED' });
  await t.rejects(handle.functions.fail_slowly(1, 1), { code: 'ERR_SOSWAP_CLOSED' });
});

t.test('an exception of the function, and a wrong argument, are thrown as without', async (t) => {
  const blocking = { arguments: ['int32'], return: 'int32', errno: true } as const;
  const one = SoHandle.open(throwing, { throw_if: blocking });
  const other = SoHandle.open(throwing, { throw_if: { ...blocking, nonblocking: true } });
  t.throws(() => one.functions.throw_if(1), { code: 'ERR_SOSWAP_NATIVE_EXCEPTION' });
  await t.rejects(other.functions.throw_if(1), { code: 'ERR_SOSWAP_NATIVE_EXCEPTION' });
  t.strictSame(one.functions.throw_if(0), { value: 7, errno: 0 });
  t.match(await other.functions.throw_if(0), { value: 7 });
  t.throws(() => one.functions.throw_if(1.5), { code: 'ERR_INVALID_ARG_VALUE' });
  t.throws(() => one.functions.throw_if(...([] as unknown as [number])), {
    code: 'ERR_INVALID_ARG_VALUE',
  });
  one.close();
  other.close();
});

t.test('a function has one form under a name', async (t) => {
  const plain = { arguments: ['int32'], return: 'int32' } as const;
  t.throws(() => so.getFunction('fail_with', plain), { code: 'ERR_INVALID_ARG_VALUE' });
  t.equal(so.getFunction('fail_with', { ...plain, errno: true }), call.fail_with);
  t.throws(() => SoHandle.open(library, { fail_with: { ...plain, errno: 1 as unknown as true } }), {
    code: 'ERR_INVALID_ARG_TYPE',
  });
  t.equal(so.getFunction('absent', { errno: true, optional: true }), null);
});

t.test('a function at an address has it too', async (t) => {
  const fail = functionAt(so.getSymbol('fail_with'), definitions.fail_with);
  t.strictSame(fail(11), { value: -1, errno: 11 });
});

t.test('workers have their own', async (t) => {
  const program = `
    import { Worker } from 'node:worker_threads';
    const source = \`
      import { parentPort, workerData } from 'node:worker_threads';
      import { SoHandle } from 'soswap';
      const { fail_with, fail_slowly } = SoHandle.open(${JSON.stringify(library)}, ${JSON.stringify(definitions)}).functions;
      let wrong = 0;
      for (let index = 0; index < 50000; index++) if (fail_with(workerData).errno !== workerData) wrong++;
      if ((await fail_slowly(workerData, 5)).errno !== workerData) wrong++;
      parentPort.postMessage(wrong);
    \`;
    const { writeFileSync } = await import('node:fs');
    const file = ${JSON.stringify(join(directory, 'worker.mjs'))};
    writeFileSync(file, source);
    const workers = [3, 4, 5].map((workerData) => new Worker(file, { workerData, execArgv: [] }));
    const all = workers.map((worker) => new Promise((done, failed) => worker.on('message', done).on('error', failed)));
    console.log(await Promise.all(all));
  `;
  const ended = await runProgram(program, { cwd: root });
  t.match(ended, { ...exitedCleanly, stdout: '[ 0, 0, 0 ]\n' });
});
