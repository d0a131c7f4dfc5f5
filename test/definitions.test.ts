import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SoHandle } from 'soswap';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, root, runNode } from '../fixtures/child.js';

const library = compile('calls.c', join(t.testdir(), 'calls.so'));
const so = SoHandle.open(library);
t.teardown(() => so.close());

/** Opens and closes the library with definitions of any kind. */
const open = (definitions: unknown) => SoHandle.open(library, definitions as never).close();
const wrongValue = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' };

const names = [
  ...['bool', 'char', 'int8', 'i8', 'uint8', 'u8', 'int16', 'i16', 'uint16', 'u16', 'int32', 'i32'],
  ...[
    'uint32',
    'u32',
    'int64',
    'i64',
    'uint64',
    'u64',
    'float32',
    'f32',
    'float',
    'float64',
    'f64',
  ],
  ...['double', 'pointer', 'ptr', 'string', 'str', 'buffer', 'arraybuffer', 'function'],
];

t.test('every type name and spelling of node:ffi is known', async (t) => {
  for (const name of names) {
    t.doesNotThrow(() => open({ noop: { arguments: [name], return: name } }), name);
  }
  t.doesNotThrow(() => open({ noop: { arguments: [], return: 'void' } }));
});

t.test('no other type is known', async (t) => {
  const unknown = ['int', 'long', 'size_t', 'cstring', 'Int32', 'INT32', ' int32', 'int32 ', ''];
  unknown.push('int32\0', 'callback', 'boolean', 'toString', '__proto__', 'constructor');
  for (const name of [...unknown, undefined, null, 1, {}, ['int32'], new String('int32')]) {
    const of = {
      message: /noop\.arguments\[1\].*bool, char, int8, /,
    };
    t.throws(() => open({ noop: { arguments: ['int32', name] } }), { ...wrongValue, ...of });
    const result = { message: /noop\.return.*void, bool, char, / };
    t.throws(() => open({ noop: { return: name } }), { ...wrongValue, ...result });
  }
  t.throws(() => open({ noop: { arguments: ['void'] } }), {
    ...wrongValue,
    message: /'void'/,
  });
  t.throws(() => open({ noop: { arguments: Array(3) } }), wrongValue, 'holes');
});

t.test(
  'a key that is no part of a definition is refused, because it would be ignored',
  async (t) => {
    t.throws(() => open({ add: { parameters: ['int32'] } }), {
      ...wrongValue,
      message: /add\.parameters.*'arguments'/,
    });
    t.throws(() => open({ add: { result: 'int32' } }), { ...wrongValue, message: /'return'/ });
    t.throws(() => open({ add: { async: true } }), { ...wrongValue, message: /'nonblocking'/ });
    t.throws(() => open({ add: { retrun: 'int32' } }), {
      ...wrongValue,
      message: /arguments, return, nonblocking, errno, leaf, optional/,
    });
  },
);

t.test('a symbol name is a C string', async (t) => {
  for (const name of ['', 'no\0op', '\0']) {
    t.throws(() => open({ [name]: {} }), wrongValue);
    t.throws(() => so.getFunction(name, {}), wrongValue);
    t.throws(() => so.getSymbol(name), wrongValue);
  }
  for (const name of ['n', 'nöop', 'x'.repeat(10_000), '__proto__', 'no op']) {
    const missing = { code: 'ERR_SOSWAP_MISSING_SYMBOL', symbol: name };
    const definitions = Object.defineProperty({}, name, { value: {}, enumerable: true });
    t.throws(() => open(definitions), missing);
    t.throws(() => so.getFunction(name, {}), missing);
    t.throws(() => so.getSymbol(name), missing);
    t.equal(so.getFunction(name, { optional: true }), null);
  }
});

t.test('the same name and signature is the same function, whatever the spelling', async (t) => {
  const handle = SoHandle.open(library, { add: { arguments: ['int32', 'i32'], return: 'int32' } });
  const { add } = handle.functions;
  t.equal(handle.getFunction('add', { arguments: ['i32', 'int32'], return: 'i32' }), add);
  const fill = handle.getFunction('fill', { arguments: ['buffer', 'u64', 'u8'] });
  const same = handle.getFunction('fill', { arguments: ['ptr', 'uint64', 'bool'], return: 'void' });
  t.equal(same, fill, 'what is one to the machine is one, as in node:ffi');

  const others = [
    { arguments: ['int32', 'uint32'], return: 'int32' },
    { arguments: ['int32', 'int32'], return: 'uint32' },
    { arguments: ['int32', 'int32'] },
    { arguments: ['int32'], return: 'int32' },
    { arguments: ['int32', 'int32'], return: 'int32', nonblocking: true },
  ] as const;
  for (const definition of others) {
    t.throws(() => handle.getFunction('add', definition), wrongValue);
  }
  handle.getFunction('hello', { return: 'pointer' });
  t.throws(() => handle.getFunction('hello', { return: 'string' }), wrongValue);
  handle.close();
});

t.test('a function has the name of its symbol and the length of its arguments', async (t) => {
  const add = so.getFunction('add', { arguments: ['int32', 'int32'], return: 'int32' });
  t.equal(add.name, 'add');
  t.equal(add.length, 2);
  const noop = so.getFunction('noop', { nonblocking: true });
  t.equal(noop.name, 'noop');
  t.equal(noop.length, 0);
});

t.test('as many as 1,024 arguments arrive, also where little stack is left', async (t) => {
  const directory = t.testdir();
  const parameters = Array.from({ length: 1024 }, (_, index) => `a${index}`);
  const source = join(directory, 'many.c');
  writeFileSync(
    source,
    `long many(int ${parameters.join(', int ')}) { return ${parameters.join(' + 0L + ')}; }`,
  );
  const many = compile(source, join(directory, 'many.so'));
  const program = `
    import { isMainThread, Worker } from 'node:worker_threads';
    import { SoHandle } from 'soswap';
    const types = Array(1024).fill('int32');
    const so = SoHandle.open(${JSON.stringify(many)}, { many: { arguments: types, return: 'int64' } });
    const { many } = so.functions;
    const numbers = types.map((_, index) => index + 1);
    const seen = new Set();
    const call = () => {
      try {
        seen.add(many(...numbers));
      } catch (error) {
        if (!(error instanceof RangeError)) seen.add(error.code);
      }
    };
    const descend = () => {
      try {
        descend();
      } catch {}
      call();
    };
    descend();
    console.log(...seen);
    so.close();
    if (isMainThread) new Worker(new URL(import.meta.url));
  `;
  const file = join(directory, 'many.mjs');
  writeFileSync(file, program.replace("'soswap'", JSON.stringify(import.meta.resolve('soswap'))));
  const ended = await runNode([file], { cwd: root });
  t.match(ended, exitedCleanly);
  t.equal(ended.stdout, '524800n\n524800n\n');
  t.throws(() => open({ noop: { arguments: Array(1025).fill('int32') } }), {
    ...wrongValue,
    message: /noop\.arguments.*1024/,
  });
});

t.test('definitions are read once and kept', async (t) => {
  const types: ('int32' | 'float64')[] = ['int32', 'int32'];
  const handle = SoHandle.open(library, { add: { arguments: types, return: 'int32' } });
  types[0] = 'float64';
  types.length = 1;
  t.equal((handle.functions.add as (a: number, b: number) => number)(20, 22), 42);
  handle.close();
});
