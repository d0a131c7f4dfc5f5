import { execFileSync } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Definition, inspect, SoHandle } from 'soswap';
import t from 'tap';
import { exitedCleanly, root, runSoswap } from '../fixtures/child.js';

// What errors say of names that are not found, because something else is meant.

const directory = t.testdir();
const library = join(directory, 'libprice.so');
writeFileSync(
  join(directory, 'price.cc'),
  `double quote(double base, unsigned count) { return base * count; }
   namespace pricing { struct Book { int quote() const; }; int Book::quote() const { return 1; } }
   template <typename T> T tariff(T x) { return x; }
   template int tariff(int);
   int quotes = 1;
   extern "C" int total() { return 5; }`,
);
const compiler = process.env.CXX ?? 'c++';
execFileSync(compiler, ['-shared', '-fPIC', 'price.cc', '-o', library], { cwd: directory });
const addon = join(directory, 'tools.so'); // no name says that it is one
copyFileSync(join(root, 'build/Release/soswap.node'), addon);

t.test('the error of an absent symbol names the C++ functions of that name', async (t) => {
  const error = {
    code: 'ERR_SOSWAP_MISSING_SYMBOL',
    symbol: 'quote',
    message: /_Z5quotedj, _ZNK7pricing4Book5quoteEv: declare it extern "C"/,
  };
  t.throws(() => SoHandle.open(library, { quote: {}, total: {} }), error);
  const price = SoHandle.open(library);
  t.teardown(() => price.close());
  t.throws(() => price.getSymbol('quote'), error);
  t.throws(() => price.getFunction('quote', {}), error);
  const quote = price.getFunction('_Z5quotedj', {
    arguments: ['float64', 'uint32'],
    return: 'float64',
  });
  t.equal(quote(2, 3), 6, 'the mangled name works');
  for (const name of ['quotes', 'quot', 'Book', 'pricing', 'tariff', 'd']) {
    const plain = `cannot use '${library}': symbol ${name}x is absent`;
    t.throws(() => price.getSymbol(`${name}x`), { message: plain });
  }
  for (const name of ['quot', 'Book', 'pricing', 'd']) {
    t.throws(() => price.getSymbol(name), {
      message: `cannot use '${library}': symbol ${name} is absent`,
    });
  }
});

t.test('an addon is recognised by its symbols', async (t) => {
  t.throws(() => SoHandle.open(addon, { add: {} }), {
    code: 'ERR_SOSWAP_MISSING_SYMBOL',
    message: /is a Node.js addon, because of its symbol napi_register_module_v1: require\(\)/,
  });
  t.equal(inspect(addon).addonSymbol, 'napi_register_module_v1');
  t.equal(inspect(library).addonSymbol, null);
  const described = await runSoswap(['inspect', addon], { cwd: directory });
  t.match(described.stdout, /addon +.*require\(\)/);
});

t.test('the error of an unknown type names the type that may be meant', async (t) => {
  const price = SoHandle.open(library);
  t.teardown(() => price.close());
  const meant: [string, string][] = [
    ['int', 'int32'],
    ['unsigned  int', 'uint32'],
    ['long', 'int64'],
    ['size_t', 'uint64'],
    ['uint8_t', 'uint8'],
    ['char*', 'string'],
    ['const char *', 'string'],
    ['void *', 'pointer'],
    ['Float64', 'float64'],
  ];
  const define = (definition: unknown) => () =>
    price.getFunction('total', definition as Definition);
  const code = 'ERR_INVALID_ARG_VALUE';
  for (const [name, type] of meant) {
    const message = new RegExp(`in short: i8, .*; '${type}' may be meant. Received '`);
    t.throws(define({ return: name }), { code, message });
    t.throws(define({ arguments: [name] }), { code, message });
  }
  for (const type of ['nonsense', '', 5, {}]) {
    t.throws(define({ return: type }), { code, message: /ptr, str. Received/ });
  }
});

t.test('the command line takes the name of a file in the current directory', async (t) => {
  const options = { cwd: directory };
  t.match(await runSoswap(['inspect', 'libprice.so'], options), exitedCleanly);
  const run = ['run', 'libprice.so', 'total', '--count', '1'];
  t.match(await runSoswap(run, options), { ...exitedCleanly, stdout: '5\n' });
  t.match(await runSoswap(['inspect', 'libabsent.so'], options), { code: 1 });
  t.match(await runSoswap(['inspect', 'libc.so.6', '--json'], options), { stdout: /"path": "\// });
});

t.test(
  'a bare name that is a file in the current directory: the error names the path',
  async (t) => {
    const before = process.cwd();
    process.chdir(directory);
    t.teardown(() => process.chdir(before));
    t.throws(() => SoHandle.open('libprice.so'), {
      code: 'ERR_SOSWAP_NOT_FOUND',
      message: /the path of the file in the current directory is '.\/libprice.so'$/,
    });
  },
);
