import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, renameSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { inspect, type OpenOptions, SoHandle, type SwapOptions } from 'soswap';
import t, { type Test } from 'tap';
import { compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { runSoswap } from '../fixtures/child.js';
import { beginning, children } from '../fixtures/quarantine.js';

// A quarantine rehearses the swap: it loads the running image, then the candidate, as the swap would.

const refused = { name: 'SoError', code: 'ERR_SOSWAP_QUARANTINE', outcome: 'unchanged' } as const;
const definitions = { version: { return: 'int32' } } as const;
const registered =
  /SIGABRT; the last line it wrote to standard error: registry: 'price' is registered already$/;

/** Two versions of `library` and the registry that it needs, in one directory. */
class Registered {
  readonly library: string;
  readonly registry: string;
  readonly #directory: string;
  readonly #end: string;

  constructor(directory: string, end: string, ...flags: string[]) {
    this.#directory = directory;
    this.#end = end;
    this.library = `${directory}/price.so`;
    // A name of its own: one that stays loaded would be that of the next test too.
    const soname = `libregistry${++registries}.so`;
    this.registry = `${directory}/${soname}`;
    compile('registry/registry.c', this.registry, `-Wl,-soname,${soname}`, ...flags);
    this.build('price', 1, this.library);
  }

  build(name: string, version: number, output: string): string {
    const macros = [`-DNAME="${name}"`, `-DVERSION=${version}`, `-DEND=${this.#end}`];
    const next = `${this.#directory}/next`;
    compile('registry/registered.c', next, ...macros, this.registry, '-Wl,-rpath,$ORIGIN');
    renameSync(next, output);
    return output;
  }

  open(options?: OpenOptions) {
    const so = SoHandle.open(this.library, definitions, options);
    this.build('price', 2, this.library);
    return so;
  }
}

let registries = 0;
const unregisters = 'registry_remove(NAME)';
const quarantine = true;

/** A swap is refused, and nothing has changed. The forms take turns. */
async function isRefused(
  t: Test,
  so: SoHandle<typeof definitions>,
  message: RegExp,
  options: SwapOptions<typeof definitions> = {},
) {
  const expected = { ...refused, message };
  if (++swaps % 2 === 0) t.throws(() => so.swapSync({ quarantine, ...options }), expected);
  else await t.rejects(so.swap({ quarantine, ...options }), expected);
  t.same([so.functions.version(), so.generation, children()], [1, 1, []]);
}

let swaps = 0;

t.test('a registry that stays loaded ends the process at the second registration', async (t) => {
  using so = new Registered(t.testdir(), '', '-Wl,-z,nodelete').open();
  await isRefused(t, so, registered);
  await isRefused(t, so, registered, { order: 'open-first' });
});

t.test('the same with image: direct', async (t) => {
  using so = new Registered(t.testdir(), '', '-Wl,-z,nodelete').open({ image: 'direct' });
  await isRefused(t, so, registered);
});

t.test('a library that unregisters in a destructor is swapped close-first', async (t) => {
  using so = new Registered(t.testdir(), unregisters, '-Wl,-z,nodelete').open();
  await isRefused(t, so, registered, { order: 'open-first' });
  await isRefused(t, so, registered, { unload: 'never' });
  t.equal((await so.swap({ quarantine })).unmapped, true);
  t.equal(so.swapSync({ quarantine }).unmapped, true);
  t.equal(so.functions.version(), 2);
});

t.test('a registry that goes with the library forgets it', async (t) => {
  using so = new Registered(t.testdir(), '').open();
  await isRefused(t, so, registered, { order: 'open-first' });
  t.equal((await so.swap({ quarantine })).unmapped, true);
  t.equal(so.functions.version(), 2);
});

t.test('a library with a registry of its own is swapped in any order', async (t) => {
  const own = [fileURLToPath(new URL('../fixtures/registry/registry.c', import.meta.url))];
  const macros = ['-DNAME="price"', '-DVERSION=1', '-DEND='];
  const path = compile('registry/registered.c', `${t.testdir()}/so.so`, ...macros, ...own);
  t.same(inspect(path).registries, []);
  using so = SoHandle.open(path, definitions);
  t.equal((await so.swap({ quarantine, order: 'open-first' })).generation, 2);
  t.equal(so.swapSync({ quarantine }).generation, 3);
});

t.test('a registry stays while another library needs it', async (t) => {
  const files = new Registered(t.testdir(), '');
  using so = files.open();
  {
    using _other = SoHandle.open(files.build('other', 1, `${t.testdirName}/other.so`));
    await isRefused(t, so, registered);
  }
  t.equal(so.swapSync({ quarantine }).generation, 2);
});

t.test('a registry stays that a handle has opened', async (t) => {
  const files = new Registered(t.testdir(), '');
  using _registry = SoHandle.open(files.registry);
  using so = files.open();
  await isRefused(t, so, registered);
});

const directory = t.testdir();
const builds = twoBuilds(directory);
const begins = beginning(directory);
const inQuarantine = 'if (getenv("SOSWAP_QUARANTINE") != NULL)';

t.test('the running image dies in the child when it is unmapped: refused', async (t) => {
  using so = new Registered(t.testdir(), `${inQuarantine} abort()`).open();
  await isRefused(t, so, /it died there of SIGABRT$/);
});

t.test('the running image cannot be loaded twice: the candidate is tried alone', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  copyFileSync(begins(`${inQuarantine} abort()`), path);
  using so = SoHandle.open(path, { version: { return: 'string' } });
  copyFileSync(begins(`${inQuarantine} exit(3)`), path);
  const exits = { ...refused, message: /code 3/ };
  t.throws(() => so.swapSync({ quarantine }), exits);
  await t.rejects(so.swap({ quarantine }), exits);
  copyFileSync(two, path);
  t.equal((await so.swap({ quarantine })).generation, 2);
});

t.test('a candidate that fills standard error is refused, and takes no more memory', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  using so = SoHandle.open(path);
  const fill = 'for (int i = 0; i < 300000; ++i) dprintf(2, "line %d\\n", i)';
  copyFileSync(begins(`${fill}; abort()`), path);
  t.throws(() => so.swapSync({ quarantine }), { ...refused, message: /SIGABRT.*: line \d{5}$/ });
});

const hasProtoc = spawnSync('protoc', ['--version']).status === 0;
t.test('a message of Protocol Buffers', { skip: !hasProtoc && 'needs protoc' }, async (t) => {
  const cwd = t.testdir();
  const sources = fileURLToPath(new URL('../fixtures/registry', import.meta.url));
  execFileSync('protoc', [`--cpp_out=${cwd}`, `--proto_path=${sources}`, 'message.proto']);
  const path = compile('registry/message.cc', `${cwd}/price.so`, `-I${cwd}`, '-lprotobuf');
  const registry = {
    name: 'Protocol Buffers',
    symbol: /AddDescriptors/,
    effect: /ends the process/,
  };
  t.match(inspect(path).registries, [registry]);
  const text = await runSoswap(['inspect', path], { cwd });
  t.match(text.stdout, /registry +Protocol Buffers: .*\n +cure: rehearse each swap/);
  using so = SoHandle.open(path, definitions); // and the same again: it registers the same name
  await isRefused(t, so, /SIGABRT; the last line it wrote to standard error: .*CHECK failed/);
});
