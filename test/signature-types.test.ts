import { join } from 'node:path';
import {
  type Definition,
  type Definitions,
  type FunctionFor,
  SoHandle,
  type WithErrno,
} from 'soswap';
import t from 'tap';
import { compile } from '../fixtures/build.js';

// Most of this is for the compiler: `npm run check` fails when a type is not what it says here, and when
// a line under @ts-expect-error is right.

/** Compiles only if the two types are the same, not merely assignable. */
type Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(..._proof: Same<A, B> extends true ? [] : [never]): void {}

type Pointer = string | ArrayBufferView | ArrayBuffer | bigint | null | undefined;

const library = compile('calls.c', join(t.testdir(), 'calls.so'));

t.test('functions are typed from their definitions', async (t) => {
  const so = SoHandle.open(library, {
    add: { arguments: ['int32', 'i32'], return: 'int32' },
    mul: { arguments: ['double', 'f64'], return: 'float64' },
    noop: {},
    length_of: { arguments: ['string'], return: 'u64' },
    hello: { return: 'string' },
    echo_pointer: { arguments: ['pointer'], return: 'ptr' },
    echo_int64: { arguments: ['int64'], return: 'i64' },
    sum_bytes: { arguments: ['buffer', 'uint64'], return: 'uint64', nonblocking: true },
    sleep_ms: { arguments: ['u32'], nonblocking: true, optional: true },
    dirty: { return: 'u64', optional: true, nonblocking: false },
    no_text: { return: 'str', optional: false },
  });
  const call = so.functions;
  same<typeof call.add, (a: number, b: number) => number>();
  same<typeof call.mul, (a: number, b: number) => number>();
  same<typeof call.noop, () => undefined>();
  same<typeof call.length_of, (text: Pointer) => bigint>();
  same<typeof call.hello, () => string | null>();
  same<typeof call.echo_pointer, (pointer: Pointer) => bigint>();
  same<typeof call.echo_int64, (value: number | bigint) => bigint>();
  same<typeof call.sum_bytes, (bytes: Pointer, count: number | bigint) => Promise<bigint>>();
  same<typeof call.sleep_ms, ((milliseconds: number) => Promise<undefined>) | null>();
  same<typeof call.dirty, (() => bigint) | null>();
  same<typeof call.no_text, () => string | null>();

  t.equal(call.add(1, 2), 3);
  t.equal(call.dirty?.(), 0xa5a5a5a5a5a5a581n);
  t.equal(await call.sum_bytes(Uint8Array.of(1, 2), 2), 3n);

  // @ts-expect-error there is no such function
  t.equal(call.nothing, undefined);
  // @ts-expect-error an optional function may be null
  t.doesNotThrow(() => call.dirty());
  // @ts-expect-error one argument is missing
  t.throws(() => call.add(1));
  // @ts-expect-error one argument is too many
  t.throws(() => call.add(1, 2, 3));
  // @ts-expect-error a bigint is no int32
  t.throws(() => call.add(1n, 2));
  // @ts-expect-error a string is no int32
  t.throws(() => call.add('1', 2));
  // @ts-expect-error a number is no address
  t.throws(() => call.echo_pointer(1));
  // @ts-expect-error a SharedArrayBuffer must have a view
  t.throws(() => call.echo_pointer(new SharedArrayBuffer(1)));
  // @ts-expect-error functions are not replaced
  t.throws(() => (call.add = () => 1));
  so.close();
});

t.test('definitions are checked', async (t) => {
  // @ts-expect-error there is no type int
  t.throws(() => SoHandle.open(library, { add: { arguments: ['int', 'int32'] } }));
  // @ts-expect-error void is no argument
  t.throws(() => SoHandle.open(library, { add: { arguments: ['void'] } }));
  // @ts-expect-error a list of types
  t.throws(() => SoHandle.open(library, { add: { arguments: 'int32' } }));
  // @ts-expect-error there is no type long
  t.throws(() => SoHandle.open(library, { add: { return: 'long' } }));
  // @ts-expect-error a boolean
  t.throws(() => SoHandle.open(library, { add: { nonblocking: 1 } }));
  // @ts-expect-error a definition
  t.throws(() => SoHandle.open(library, { add: 'int32' }));
});

t.test('getFunction() is typed from its definition', async () => {
  const so = SoHandle.open(library);
  const add = so.getFunction('add', { arguments: ['int32', 'int32'], return: 'int32' });
  const maybe = so.getFunction('noop', { optional: true });
  const later = so.getFunction('mul', {
    arguments: ['f64', 'f64'],
    return: 'f64',
    nonblocking: true,
  });
  same<typeof add, (a: number, b: number) => number>();
  same<typeof maybe, (() => undefined) | null>();
  same<typeof later, (a: number, b: number) => Promise<number>>();
  so.close();
});

t.test('definitions may be made apart from the call', async (t) => {
  const definitions = {
    add: { arguments: ['int32', 'int32'], return: 'int32' },
  } as const satisfies Definitions;
  const so = SoHandle.open(library, definitions);
  same<typeof so, SoHandle<typeof definitions>>();
  t.equal(so.functions.add(20, 22), 42);
  so.close();
});

t.test('a function whose definition is known at run time only can be called', async (t) => {
  const definitions: Definitions = { add: { arguments: ['int32', 'int32'], return: 'int32' } };
  const so = SoHandle.open(library, definitions);
  t.equal(so.functions.add?.(20, 22), 42);
  same<ReturnType<NonNullable<FunctionFor<Definition>>>, Anything>();

  const flags = { nonblocking: Math.random() < 2, optional: Math.random() < 2 };
  const add = so.getFunction('mul', { arguments: ['f64', 'f64'], return: 'f64', ...flags });
  same<typeof add, ((a: number, b: number) => number | Promise<number>) | null>();
  so.close();
});

t.test('any handle is a SoHandle', async (t) => {
  const paths = (handles: readonly SoHandle[]) => handles.map(({ path }) => path);
  const one = SoHandle.open(library, { add: { arguments: ['int32', 'int32'], return: 'int32' } });
  const other = SoHandle.open(library, { hello: { return: 'string', optional: true } });
  const third = SoHandle.open(library);
  t.same(paths([one, other, third]), [library, library, library]);
  for (const handle of [one, other, third]) handle.close();
});

type Value = undefined | null | number | bigint | string;
type Anything = Value | WithErrno<Value> | Promise<Value | WithErrno<Value>>;

t.test('a definition with errno types what a call returns', async (t) => {
  const add = { arguments: ['int32', 'int32'], return: 'int32', errno: true } as const;
  const so = SoHandle.open(library, { add });
  const later = so.getFunction('add', add);
  same<typeof so.functions.add, (a: number, b: number) => WithErrno<number>>();
  same<typeof later, typeof so.functions.add>();
  const sleep = so.getFunction('sleep_ms', { arguments: ['u32'], nonblocking: true, errno: true });
  same<typeof sleep, (milliseconds: number) => Promise<WithErrno<undefined>>>();
  const mul = so.getFunction('mul', {
    arguments: ['f64', 'f64'],
    return: 'f64',
    errno: Math.random() < 2,
  });
  same<typeof mul, (a: number, b: number) => number | WithErrno<number>>();
  t.same(so.functions.add(20, 22), { value: 42, errno: 0 });
  so.close();
});
