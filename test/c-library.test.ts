import { copyFileSync, existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { inspect, loaded, SoHandle } from 'soswap';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, root, runProgram } from '../fixtures/child.js';

/** Calls at least 30 functions of libc, and reports each result that is wrong. */
const libcProgram = (library: string) => `
  import { SoHandle } from 'soswap';
  const [i, s, p] = ['int32', 'string', 'pointer'];
  const f = (result, ...types) => ({ arguments: types, return: result });
  const names = {
    isalpha: f(i, i), isdigit: f(i, i), isspace: f(i, i), isupper: f(i, i), ispunct: f(i, i),
    toupper: f(i, i), tolower: f(i, i), setlocale: f(s, i, s), localeconv: f(p), nl_langinfo: f(s, i),
    puts: f(i, s), fflush: f(i, p), tmpfile: f(p), fputs: f(i, s, p), rewind: f('void', p),
    fgetc: f(i, p), fclose: f(i, p), getpwuid: f(p, 'uint32'), getgrgid: f(p, 'uint32'),
    getpwnam: f(p, s), getservbyname: f(p, s, s), getaddrinfo: f(i, s, s, p, p),
    freeaddrinfo: f('void', p), gai_strerror: f(s, i), iconv_open: f(p, s, s),
    iconv: f('uint64', p, p, p, p, p), iconv_close: f(i, p), time: f('int64', p),
    gmtime: f(p, p), strftime: f('uint64', p, 'uint64', s, p), mktime: f('int64', p), tzset: f('void'),
    malloc: f(p, 'uint64'), calloc: f(p, 'uint64', 'uint64'), realloc: f(p, p, 'uint64'),
    free: f('void', p), strdup: f(p, s), strlen: f('uint64', p), strtol: f('int64', s, p, i),
    atoi: f(i, s), getenv: f(s, s), setenv: f(i, s, s, i), getpid: f(i), strerror: f(s, i),
    gethostname: f(i, p, 'uint64'), gnu_get_libc_version: f(s), system: f(i, s), qsort: f('void', p, 'uint64', 'uint64', p),
    memcpy: f(p, p, p, 'uint64'), usleep: { ...f(i, 'uint32'), nonblocking: true },
  };
  const h = SoHandle.open(${JSON.stringify(library)}, names);
  const c = h.functions;
  const called = new Set();
  const call = (name, ...values) => (called.add(name), c[name](...values));
  const wrong = [];
  const check = (what, right) => right || wrong.push(what);
  const text = (address, size) => {
    const to = Buffer.alloc(size);
    call('memcpy', to, address, size);
    return to.toString('latin1');
  };
  const word = (address) => { const to = Buffer.alloc(8); call('memcpy', to, address, 8); return to.readBigUInt64LE(); };
  const string = (address) => text(address, Number(call('strlen', address)));

  check('isalpha', call('isalpha', 97) !== 0 && call('isalpha', 49) === 0);
  check('isdigit', call('isdigit', 49) !== 0 && call('isdigit', 97) === 0);
  check('isspace', call('isspace', 32) !== 0);
  check('isupper', call('isupper', 65) !== 0 && call('isupper', 97) === 0);
  check('ispunct', call('ispunct', 33) !== 0);
  check('toupper', call('toupper', 97) === 65);
  check('tolower', call('tolower', 65) === 97);
  check('setlocale', call('setlocale', 6, 'C.UTF-8') === 'C.UTF-8' && call('setlocale', 6, null) === 'C.UTF-8');
  check('nl_langinfo', call('nl_langinfo', 14) === 'UTF-8');
  check('localeconv', string(word(call('localeconv'))) === '.');
  check('isalpha of the locale', call('isalpha', 122) !== 0);
  check('puts', call('puts', 'from the library') >= 0 && call('fflush', null) === 0);
  const file = call('tmpfile');
  check('fputs', file !== 0n && call('fputs', 'xyz', file) >= 0);
  call('rewind', file);
  check('fgetc', call('fgetc', file) === 120 && call('fgetc', file) === 121);
  check('fclose', call('fclose', file) === 0);
  const user = call('getpwuid', 0);
  check('getpwuid', user !== 0n && string(word(user)) === 'root');
  check('getpwnam', string(word(call('getpwnam', 'root'))) === 'root');
  check('getgrgid', string(word(call('getgrgid', 0))) === 'root');
  call('getservbyname', 'http', 'tcp'); // there may be no /etc/services
  const found = Buffer.alloc(8);
  check('getaddrinfo', call('getaddrinfo', '127.0.0.1', '80', null, found) === 0);
  call('freeaddrinfo', found.readBigUInt64LE());
  check('getaddrinfo of a name', call('getaddrinfo', 'localhost', null, null, found) === 0);
  call('freeaddrinfo', found.readBigUInt64LE());
  check('gai_strerror', call('gai_strerror', -2) === 'Name or service not known');
  const conversion = call('iconv_open', 'UTF-16LE', 'ISO-8859-1');
  const [from, to] = [call('strdup', 'ab'), call('calloc', 1, 16)];
  const [at, left, target, room] = [from, 2n, to, 16n].map((value) => {
    const cell = Buffer.alloc(8); cell.writeBigUInt64LE(value); return cell;
  });
  check('iconv', call('iconv', conversion, at, left, target, room) === 0n && text(to, 4) === 'a\\0b\\0');
  check('iconv_close', call('iconv_close', conversion) === 0);
  call('free', from); call('free', to);
  check('time', Math.abs(Number(call('time', null)) - Date.now() / 1000) < 5);
  const moment = Buffer.alloc(8); moment.writeBigInt64LE(86400n);
  const parts = call('gmtime', moment);
  const shown = Buffer.alloc(32);
  check('strftime', call('strftime', shown, 32, '%Y-%m-%d %A', parts) === 17n && shown.toString('latin1', 0, 17) === '1970-01-02 Friday');
  call('tzset');
  check('mktime', typeof call('mktime', parts) === 'bigint');
  let memory = call('malloc', 100);
  check('malloc', memory !== 0n);
  memory = call('realloc', memory, 1 << 20);
  check('realloc', memory !== 0n);
  call('free', memory);
  check('strtol', call('strtol', '-0x1f', null, 16) === -31n);
  check('atoi', call('atoi', '42') === 42);
  process.env.FROM_JAVASCRIPT = 'yes';
  check('getenv', call('getenv', 'FROM_JAVASCRIPT') === 'yes');
  call('setenv', 'FROM_C', 'yes', 1);
  check('setenv', process.env.FROM_C === 'yes');
  check('getpid', call('getpid') === process.pid);
  check('strerror', call('strerror', 2) === 'No such file or directory');
  check('gethostname', call('gethostname', Buffer.alloc(256), 256) === 0);
  check('version', /^2[.]/.test(call('gnu_get_libc_version')));
  check('system', call('system', 'exit 3') === 3 << 8);
  check('usleep', (await call('usleep', 1000)) === 0);
  // The same functions as those of the process: an address of one is freed by the other.
  check('the address', h.getSymbol('free') === SoHandle.open('libc.so.6').getSymbol('free'));
  check('30 functions', called.size >= 30);
  console.log(JSON.stringify({ wrong, enough: called.size >= 30 }));
`;

const path = inspect('libc.so.6').path;
for (const library of ['libc.so.6', path, 'libpthread.so.0', 'libdl.so.2']) {
  t.test(`functions of the C library run as with dlopen(3), by ${library}`, async (t) => {
    const ended = await runProgram(libcProgram(library), { cwd: root });
    t.match(ended, exitedCleanly);
    t.equal(ended.stdout, 'from the library\n{"wrong":[],"enough":true}\n');
  });
}

t.test('20 functions of libm', async (t) => {
  const program = `
    import { SoHandle } from 'soswap';
    const one = { arguments: ['f64'], return: 'f64' };
    const two = { arguments: ['f64', 'f64'], return: 'f64' };
    const same = ['sin', 'cos', 'tan', 'asin', 'acos', 'atan', 'sinh', 'cosh', 'tanh', 'exp', 'expm1', 'log', 'log10',
      'log2', 'log1p', 'sqrt', 'cbrt', 'floor', 'ceil', 'trunc', 'fabs'];
    const names = Object.fromEntries(same.map((name) => [name, one]));
    const m = SoHandle.open('libm.so.6', { ...names, pow: two, hypot: two, atan2: two, fmod: two, lgamma: one }).functions;
    const near = (a, b) => Math.abs(a - b) < 1e-12;
    const wrong = same.filter((name) => !near(m[name](0.7), Math[name === 'fabs' ? 'abs' : name](0.7)));
    for (const name of ['pow', 'hypot', 'atan2']) if (!near(m[name](0.7, 3), Math[name](0.7, 3))) wrong.push(name);
    if (!near(m.fmod(7.5, 2), 1.5) || !near(m.lgamma(5), Math.log(24))) wrong.push('fmod, lgamma');
    console.log(same.length + 5, wrong);
  `;
  t.match(await runProgram(program, { cwd: root }), { ...exitedCleanly, stdout: '26 []\n' });
});

const directory = join(path, '..');
const parts = [
  ...['libc.so.6', 'libm.so.6', 'libpthread.so.0', 'libdl.so.2', 'librt.so.1', 'libresolv.so.2'],
  ...['libutil.so.1', 'libanl.so.1', 'libBrokenLocale.so.1', 'libnss_files.so.2'],
  'ld-linux-x86-64.so.2',
].filter((name) => existsSync(join(directory, name)));

t.test('each part of the C library is taken as it is loaded, and refuses a swap', async (t) => {
  t.ok(parts.length > 5);
  for (const name of parts) {
    for (const options of [{}, { image: 'direct' }, { unload: 'never' }] as const) {
      const so = SoHandle.open(name, {}, options);
      t.equal(basename(so.path), name);
      t.equal(so.image?.mappedFrom, so.path);
      t.equal(so.status(), 'current');
      t.ok(loaded().some((image) => image.path === so.path && image.state === 'live'));
      const base = so.image?.base;
      t.throws(() => so.swapSync(), {
        code: 'ERR_SOSWAP_C_LIBRARY',
        path: so.path,
        outcome: 'unchanged',
      });
      await t.rejects(so.swap({ order: 'open-first' }), { code: 'ERR_SOSWAP_C_LIBRARY' });
      await t.rejects(so.swap({ quarantine: true }), { code: 'ERR_SOSWAP_C_LIBRARY' });
      t.match(so.image, { base, generation: 1 });
      so.watch().close();
      t.match(so.close(), {
        unmapped: false,
        retained: [{ code: options.unload ? 'kept' : 'c-library' }],
      });
      t.notOk(
        loaded().some((image) => image.path === so.path),
        'it is no image of soswap any more',
      );
    }
    t.match(inspect(name).unload, { outcome: 'stays-mapped', reasons: [{ code: 'c-library' }] });
  }
});

t.test('the core of another C library is refused', async (t) => {
  const copy = join(t.testdir(), 'libc.so.6');
  copyFileSync(path, copy);
  t.throws(() => SoHandle.open(copy), { code: 'ERR_SOSWAP_C_LIBRARY', path: copy });
  t.equal(inspect(copy).soname, 'libc.so.6');
});

t.test('a library with versions like those of the C library is swapped', async (t) => {
  const directory = t.testdir({
    'one.c': 'int value(void) { return 1; }',
    'one.map': 'GLIBC_2.2.5 { global: value; };',
  });
  const at = (name: string) => join(directory, name);
  const library = compile(at('one.c'), at('one.so'), `-Wl,--version-script=${at('one.map')}`);
  using so = SoHandle.open(library, { value: { return: 'int32' } });
  t.equal(so.image?.mappedFrom, 'snapshot');
  t.equal(so.swapSync().unmapped, true);
  t.equal(so.functions.value(), 1);
});
