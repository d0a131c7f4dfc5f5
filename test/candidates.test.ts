import { mkdirSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { SoHandle } from 'soswap';
import t from 'tap';
import { compile, compileAction } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';

const definitions = { above: { return: 'int32' } } as const;

/** Compiles below.c to `file` and above.c to so.so, which needs it, both in `directory`. */
function compileAbove(directory: string, file: string, flags: string[], numbers = [1000, 1]) {
  const [above, below] = numbers.map((number) => `-DNUMBER=${number}`);
  const soname = flags.includes('-Wl,-soname') ? [] : [`-Wl,-soname,${file.split('/').at(-1)}`];
  mkdirSync(join(directory, file, '..'), { recursive: true });
  const dependency = compile('below.c', join(directory, `${file}.new`), below!, ...soname);
  compile('above.c', join(directory, 'so.so.new'), above!, dependency, ...flags);
  renameSync(dependency, join(directory, file));
  renameSync(join(directory, 'so.so.new'), join(directory, 'so.so'));
  return join(directory, 'so.so');
}

// Loads so.so as dlopen(3) does, and tells what it calculates or that it was refused.
const plain = `
  import * as dl from 'soswap/dl';
  try {
    const handle = dl.dlopen(path);
    process.send(dl.functionAt(dl.dlsym(handle, 'above'), { return: 'int32' })());
  } catch (error) {
    process.send(error.code);
  }
`;
// The same with soswap, once opened and once swapped in each order.
const swapped = `
  import { SoHandle } from 'soswap';
  try {
    const so = SoHandle.open(path, { above: { return: 'int32' } });
    const sums = [so.functions.above()];
    await so.swap();
    sums.push(so.functions.above());
    so.swapSync({ order: 'open-first' });
    sums.push(so.functions.above());
    process.send(sums);
  } catch (error) {
    process.send(error.code);
  }
`;

interface Search {
  readonly what: string;
  /** Where the dependency is, below the directory of the library. */
  readonly file: string;
  readonly flags?: (directory: string) => string[];
  readonly env?: (directory: string) => Record<string, string>;
  /** How the library is asked for. */
  readonly path?: string;
  readonly refused?: boolean;
}

const searches: Search[] = [
  { what: 'RUNPATH $ORIGIN', file: 'libbelow.so', flags: () => ['-Wl,-rpath,$ORIGIN'] },
  {
    what: 'RPATH $ORIGIN',
    file: 'libbelow.so',
    flags: () => ['-Wl,--disable-new-dtags,-rpath,$ORIGIN'],
  },
  { what: 'RUNPATH $ORIGIN/lib', file: 'lib/libbelow.so', flags: () => ['-Wl,-rpath,$ORIGIN/lib'] },
  {
    what: 'an absolute RUNPATH',
    file: 'lib/libbelow.so',
    flags: (directory) => [`-Wl,-rpath,${directory}/lib`],
  },
  { what: 'a relative RUNPATH', file: 'lib/libbelow.so', flags: () => ['-Wl,-rpath,lib'] },
  {
    what: 'LD_LIBRARY_PATH',
    file: 'lib/libbelow.so',
    env: (directory) => ({ LD_LIBRARY_PATH: `${directory}/lib` }),
  },
  {
    what: 'a relative path to the library',
    file: 'libbelow.so',
    flags: () => ['-Wl,-rpath,$ORIGIN'],
    path: './so.so',
  },
  {
    what: 'a symbolic link to the library',
    file: 'libbelow.so',
    flags: () => ['-Wl,-rpath,$ORIGIN'],
    path: './link.so',
  },
  {
    what: 'a link in another directory, to which $ORIGIN leads',
    file: 'libbelow.so',
    flags: () => ['-Wl,-rpath,$ORIGIN'],
    path: './links/link.so',
    refused: true,
  },
  { what: 'no way to find it', file: 'lib/libbelow.so', refused: true },
];

for (const { what, file, flags = () => [], env, path = 'so.so', refused = false } of searches) {
  t.test(`dependencies are found as dlopen(3) finds them: ${what}`, async (t) => {
    const cwd = t.testdir({ links: {} });
    compileAbove(cwd, file, flags(cwd));
    symlinkSync('so.so', `${cwd}/link.so`);
    symlinkSync('../so.so', `${cwd}/links/link.so`);
    const options = { cwd, env: env?.(cwd) ?? {} };
    const ask = `const path = ${JSON.stringify(path.startsWith('.') ? path : join(cwd, path))};`;
    t.match(await runProgram(ask + plain, options), {
      ...exitedCleanly,
      messages: [refused ? 'ERR_SOSWAP_LOADER' : 1001],
    });
    t.match(await runProgram(ask + swapped, options), {
      ...exitedCleanly,
      messages: [refused ? 'ERR_SOSWAP_MISSING_DEPENDENCY' : [1001, 1001, 1001]],
    });
  });
}

t.test('a dependency without SONAME is found by the path that the linker wrote', async (t) => {
  const cwd = t.testdir();
  const below = compile('below.c', `${cwd}/below.so`, '-DNUMBER=1');
  const so = SoHandle.open(compile('above.c', `${cwd}/so.so`, '-DNUMBER=1000', below), definitions);
  t.equal(so.functions.above(), 1001);
  so.swapSync();
  await so.swap({ order: 'open-first' });
  t.equal(so.functions.above(), 1001);
  so.close();
});

t.test(
  'a missing dependency is named, with what needs it and where it was searched for',
  async (t) => {
    const cwd = t.testdir();
    const below = compile(
      'below.c',
      `${cwd}/libbelow.so`,
      '-DNUMBER=1',
      '-Wl,-soname,libbelow.so.9',
    );
    const middle = compile('above.c', `${cwd}/libmiddle.so`, '-DNUMBER=1', below);
    const path = compileAction(`${cwd}/so.so`, 1111, '-Wl,--no-as-needed', middle);
    const refused = (missing: RegExp) => ({
      name: 'SoError',
      code: 'ERR_SOSWAP_MISSING_DEPENDENCY',
      message: missing,
      path,
      rolledBack: false,
    });
    t.throws(() => SoHandle.open(path), refused(/libmiddle\.so.*libbelow\.so\.9.*\/lib/));

    renameSync(middle, `${middle}.away`);
    t.throws(() => SoHandle.open(path), refused(/libmiddle\.so/));
  },
);

t.test('a dependency that is no library is refused, and the error says why', async (t) => {
  const cwd = t.testdir({ 'libbelow.so': 'half a library' });
  compileAbove(cwd, 'lib/libbelow.so', ['-Wl,-rpath,$ORIGIN']);
  t.throws(() => SoHandle.open(`${cwd}/so.so`), {
    code: 'ERR_SOSWAP_MISSING_DEPENDENCY',
    message: /libbelow\.so/,
  });
});

t.test('every symbol that nothing provides is listed', async (t) => {
  const cwd = t.testdir();
  const below = compile('below.c', `${cwd}/libbelow.so`, '-DNUMBER=1', '-Wl,-soname,libbelow.so');
  const rpath = '-Wl,-rpath,$ORIGIN';
  const two = ['-Dabove=other', '-Dbelow=nowhere'];
  const path = compile('above.c', `${cwd}/so.so`, '-DNUMBER=1000', below, rpath);
  const so = SoHandle.open(path, definitions);
  t.equal(so.functions.above(), 1001);

  // The dependency loses its symbol, the library wants another one besides.
  renameSync(compile('below.c', `${cwd}/new`, '-DNUMBER=1', '-Dbelow=gone'), below);
  compile('undefined-symbol.c', `${cwd}/new`, '-DLINE=1', '-Wl,--no-as-needed', below, rpath);
  const needing = compile('above.c', `${cwd}/needing.so`, '-DNUMBER=1', ...two, below, rpath);
  renameSync(
    compile('above.c', `${cwd}/new`, '-DNUMBER=1', '-Wl,--no-as-needed', needing, rpath),
    path,
  );
  const refused = {
    code: 'ERR_SOSWAP_UNDEFINED_SYMBOL',
    message: /below, nowhere .*needing\.so/,
    symbol: 'below',
    rolledBack: false,
  };
  t.throws(() => so.swapSync(), refused);
  await t.rejects(so.swap(), refused);
  t.same([so.functions.above(), so.generation], [1001, 1]);
  so.close();
});

t.test('with lazy binding a symbol that nothing provides does not matter', async (t) => {
  const path = `${t.testdir()}/so.so`;
  compileAction(path, 1111);
  const so = SoHandle.open(path, { version: { return: 'string' } }, { binding: 'lazy' });
  compile('undefined-symbol.c', path, '-DLINE=2222', '-Wl,-z,lazy');
  t.equal(so.swapSync().generation, 2);
  t.equal(so.functions.version(), 'build 2222');
  so.close();
});

t.test('a dependency is replaced together with the library', async (t) => {
  const origin = ['-Wl,-rpath,$ORIGIN'];
  const replaced = { name: 'SoError', code: 'ERR_SOSWAP_REPLACED_DEPENDENCY', rolledBack: false };

  for (const how of ['swapSync', 'swap'] as const) {
    t.test(`${how}(), close-first: both are new`, async (t) => {
      const cwd = t.testdir();
      const so = SoHandle.open(compileAbove(cwd, 'libbelow.so', origin), definitions);
      t.equal(so.functions.above(), 1001);
      compileAbove(cwd, 'libbelow.so', origin, [2000, 2]);
      t.ok((await so[how]()).unmapped);
      t.equal(so.functions.above(), 2002);
      so.close();
    });
  }

  t.test('open-first, and verify(), would bind to the old one: refused', async (t) => {
    const cwd = t.testdir();
    const so = SoHandle.open(compileAbove(cwd, 'libbelow.so', origin), definitions);
    const path = compileAbove(cwd, 'libbelow.so', origin, [2000, 2]);
    const refused = { ...replaced, path, message: /libbelow\.so/ };
    t.throws(() => so.swapSync({ order: 'open-first' }), refused);
    await t.rejects(so.swap({ order: 'open-first' }), refused);
    await t.rejects(so.swap({ verify: () => true }), refused);
    t.same([so.functions.above(), so.generation], [1001, 1]);
    so.swapSync();
    t.equal(so.functions.above(), 2002);
    so.close();
  });

  // Names of their own: the loader takes any library of the same SONAME for the dependency.
  const holders: [string, string, string[], object][] = [
    ['stays mapped (-z nodelete)', 'libnodelete.so', ['-Wl,-z,nodelete'], {}],
    ['is kept', 'libkept.so', [], { unload: 'never' }],
  ];
  for (const [what, file, flags, options] of holders) {
    t.test(`an old image that ${what} holds the old one: refused`, async (t) => {
      const cwd = t.testdir();
      const all = [...origin, ...flags];
      const so = SoHandle.open(compileAbove(cwd, file, all), definitions, options);
      compileAbove(cwd, file, all, [2000, 2]);
      t.throws(() => so.swapSync(), replaced);
      await t.rejects(so.swap(), replaced);
      t.same([so.functions.above(), so.generation], [1001, 1]);
      so.close();
    });
  }

  t.test('another handle holds the old one: refused', async (t) => {
    const cwd = t.testdir();
    const path = compileAbove(cwd, 'libbelow.so', origin);
    const [so, other] = [SoHandle.open(path, definitions), SoHandle.open(path, definitions)];
    compileAbove(cwd, 'libbelow.so', origin, [2000, 2]);
    t.throws(() => so.swapSync(), replaced);
    t.same([so.functions.above(), other.functions.above()], [1001, 1001]);
    other.close();
    so.swapSync();
    t.equal(so.functions.above(), 2002);
    so.close();
  });
});
