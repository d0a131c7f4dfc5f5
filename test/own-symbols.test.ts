import { execFileSync } from 'node:child_process';
import { copyFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { inspect, SoHandle } from 'soswap';
import { constants, dlclose, dlopen } from 'soswap/dl';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, root, runProgram, runSoswap } from '../fixtures/child.js';

// Node.js exports inflateEnd(), and more than a thousand names of other libraries that it contains.

const int32 = { return: 'int32' } as const;
const definitions = { by_call: int32, by_data: int32, inflateEnd: int32 } as const;

function put(directory: string, generation: number, ...flags: string[]): string {
  const path = join(directory, 'libown.so');
  compile('own-symbols.c', `${path}.new`, `-DGENERATION=${generation}`, '-ldl', ...flags);
  renameSync(`${path}.new`, path);
  return path;
}

const ways: readonly (readonly string[])[] = [
  ['-Wl,-z,now'],
  ['-Wl,-z,lazy', '-fuse-ld=bfd'],
  ['-fno-plt'],
  ['-Wl,--hash-style=sysv'],
];

for (const options of [{}, { scope: 'global' }, { binding: 'lazy' }] as const) {
  for (const flags of ways) {
    const name = `${JSON.stringify(options)} ${flags.join(' ')}`;
    t.test(`a library calls its own functions, before and after a swap: ${name}`, async (t) => {
      const directory = t.testdir();
      using so = SoHandle.open(put(directory, 1, ...flags), definitions, options);
      const answers = () => Object.values(so.functions).map((f) => f());
      t.strictSame(answers(), [1, 1, 1]);
      put(directory, 2, ...flags);
      t.match(await so.swap({ verify: ({ by_call }) => by_call() === 2 }), { unmapped: true });
      t.strictSame(answers(), [2, 2, 2]);
      put(directory, 3, ...flags);
      t.match(so.swapSync({ order: 'open-first' }), { unmapped: true });
      t.strictSame(answers(), [3, 3, 3]);
    });
  }
}

t.test('symbolic: false leaves the names to the program, as dlopen(3) does', async (t) => {
  // The program's inflateEnd() takes a pointer, so nothing here calls it.
  const path = put(t.testdir(), 1);
  using own = SoHandle.open(path, { is_own: int32 });
  t.equal(own.functions.is_own(), 3);
  using program = SoHandle.open(path, { is_own: int32 }, { symbolic: false });
  t.equal(program.functions.is_own(), 0);
});

t.test('the option symbolic is checked', async (t) => {
  const path = put(t.testdir(), 1);
  const open = (options: object) => () => SoHandle.open(path, {}, options);
  t.throws(open({ symbolic: 'no' }), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(open({ symbolic: true, image: 'direct' }), { code: 'ERR_INVALID_ARG_VALUE' });
  t.throws(open({ symbolic: false, scope: 'global' }), { code: 'ERR_INVALID_ARG_VALUE' });
});

t.test('an allocator stays that of the program, and other names do not', async (t) => {
  const path = put(t.testdir(), 1, '-DALLOCATES', '-fno-builtin');
  const program = `
    import { SoHandle } from 'soswap';
    const int32 = { return: 'int32' };
    const { functions } = SoHandle.open(${JSON.stringify(path)}, { frees: int32, by_call: int32 });
    console.log(functions.frees(), functions.by_call());
  `;
  t.match(await runProgram(program, { cwd: root }), { ...exitedCleanly, stdout: '1 1\n' });
});

for (const options of [{}, { unload: 'always' }, { scope: 'global' }] as const) {
  t.test(`a library that makes itself global: ${JSON.stringify(options)}`, async (t) => {
    const directory = t.testdir();
    using so = SoHandle.open(put(directory, 1, '-DPROMOTES'), definitions, options);
    for (const generation of [2, 3, 4]) {
      put(directory, generation, '-DPROMOTES');
      await so.swap({ verify: ({ by_call }) => by_call() === generation });
      const answers = Object.values(so.functions).map((f) => f());
      t.strictSame(answers, [generation, generation, generation]);
    }
  });
}

/** A library, in a directory of its own, and the dependency that defines what it calls. */
function putBoth(
  directory: string,
  generation: number,
  source = 'own-symbols.c',
  ...more: string[]
): string {
  const dependency = join(directory, 'libdependency.so');
  const soname = '-Wl,-soname,libdependency.so';
  compile('own-symbols.c', `${dependency}.new`, `-DGENERATION=${generation}`, soname, '-ldl');
  renameSync(`${dependency}.new`, dependency);
  const path = join(directory, 'libown.so');
  const flags = ['-DDEPENDENCY', '-Wl,-rpath,$ORIGIN', dependency, '-ldl', ...more];
  compile(source, `${path}.new`, ...flags);
  renameSync(`${path}.new`, path);
  return path;
}

t.test('a library calls the functions of its dependency, which calls its own', async (t) => {
  const directory = t.testdir();
  const path = putBoth(directory, 1);
  using so = SoHandle.open(path, { by_call: int32, by_data: int32, by_dependency: int32 });
  const answers = () => Object.values(so.functions).map((f) => f());
  t.strictSame(answers(), [1, 1, 1]);
  t.equal(so.status(), 'current', 'the copy is compared as it was taken');
  putBoth(directory, 2);
  t.match(await so.swap({ quarantine: true }), { unmapped: true });
  t.strictSame(answers(), [2, 2, 2]);
  t.match(inspect(path).programNames, { exports: [], imports: ['inflateEnd'], obstacle: null });
});

const streams = { streams: 'string', throws_within: 'string', upper: 'int32', by_call: 'int32' };

for (const [what, build] of [
  [
    'of its own',
    (directory: string) =>
      compile('own-streams.cc', join(directory, 'libown.so'), '-DGENERATION=7'),
  ],
  ['of a dependency', (directory: string) => putBoth(directory, 7, 'own-streams.cc')],
] as const) {
  t.test(`streams, exceptions and facets of C++ beside a function ${what}`, async (t) => {
    const program = `
      import { SoHandle } from 'soswap';
      const types = ${JSON.stringify(streams)};
      const definitions = Object.fromEntries(Object.entries(types).map(([name, type]) => [name, { return: type }]));
      const so = SoHandle.open(${JSON.stringify(build(t.testdir()))}, definitions);
      const answers = () => console.log(...Object.values(so.functions).map((f) => f()));
      answers();
      so.swapSync();
      answers();
    `;
    const ended = await runProgram(program, { cwd: root });
    const once = 'number 42 true St12out_of_range 65 7\n';
    t.match(ended, exitedCleanly);
    t.equal(ended.stdout.replaceAll('printed by 7\n', ''), once + once);
    t.equal(ended.stdout.match(/printed by 7\n/g)?.length, 2);
  });
}

t.test('a dependency that was bound to the program before stays with it', async (t) => {
  const directory = t.testdir();
  const path = putBoth(directory, 1);
  const obstacle = () => inspect(path).programNames.obstacle;
  t.equal(obstacle(), null);
  const before = dlopen(join(directory, 'libdependency.so'), constants.RTLD_NOW);
  t.match(obstacle(), /libdependency\.so' was loaded before, and bound to the program/);
  dlclose(before);
  t.equal(obstacle(), null);
  using so = SoHandle.open(path, { by_call: int32 });
  t.equal(obstacle(), null, 'another handle bound it to itself');
  using other = SoHandle.open(path, { by_call: int32, by_dependency: int32 });
  t.strictSame(
    [so.functions.by_call(), other.functions.by_call(), other.functions.by_dependency()],
    [1, 1, 1],
  );
});

t.test(
  'of two dependencies, one needs std::cout of the program, and one its own function',
  async (t) => {
    const directory = t.testdir();
    const beside = join(directory, 'libstreams.so');
    compile('own-streams.cc', beside, '-DALONE=7', '-Dby_call=alone', '-Wl,-soname,libstreams.so');
    putBoth(directory, 1, 'own-symbols.c', '-Wl,--no-as-needed', beside);
    const program = `
    import { SoHandle } from 'soswap';
    const names = ['by_call', 'by_dependency', 'alone', 'upper'].map((name) => [name, { return: 'int32' }]);
    const texts = ['streams', 'throws_within'].map((name) => [name, { return: 'string' }]);
    const so = SoHandle.open(${JSON.stringify(join(directory, 'libown.so'))}, Object.fromEntries([...names, ...texts]));
    const answers = () => console.log(...Object.values(so.functions).map((f) => f()));
    answers();
    so.swapSync({ quarantine: true });
    answers();
  `;
    const ended = await runProgram(program, { cwd: root });
    t.match(ended, exitedCleanly);
    const once = '1 1 7 65 number 42 true St12out_of_range\n';
    t.equal(ended.stdout.replaceAll('printed by 7\n', ''), once + once);
    t.equal(inspect(join(directory, 'libown.so')).programNames.obstacle, null);
  },
);

t.test(
  'a dependency that needs std::cout of the program gets it, and inspect says what follows',
  async (t) => {
    const directory = t.testdir();
    const dependency = join(directory, 'libdependency.so');
    compile('own-streams.cc', dependency, '-DGENERATION=7', '-Wl,-soname,libdependency.so');
    const path = join(directory, 'libown.so');
    const flags = ['-DDEPENDENCY', '-Wl,-rpath,$ORIGIN', '-Wl,--no-as-needed', dependency];
    compile(
      'own-streams.cc',
      path,
      '-Dby_call=other',
      '-Dstreams=other_streams',
      '-Dthrows_within=other_throws',
      '-Dupper=other_upper',
      ...flags,
    );
    t.match(inspect(path).programNames, {
      imports: ['inflateEnd'],
      dependencies: [dependency],
      obstacle: /libdependency\.so' shares '_ZSt4cout' with the program/,
    });
  },
);

const system = {
  'libz.so.1': `
    const h = open('libz.so.1', { zlibVersion: { return: 'string' }, compress: { arguments: ['buffer', 'buffer', 'buffer', 'uint64'], return: 'int32' } });
    const size = new BigUint64Array([500n]);
    const test = () => [h.functions.zlibVersion(), h.functions.compress(Buffer.alloc(500), size, Buffer.alloc(1000, 65), 1000n)];
  `,
  'libzstd.so.1': `
    const h = open('libzstd.so.1', { ZSTD_versionString: { return: 'string' }, ZSTD_createCCtx: { return: 'pointer' }, ZSTD_isError: { arguments: ['uint64'], return: 'uint32' },
      ZSTD_compressCCtx: { arguments: ['pointer', 'buffer', 'uint64', 'buffer', 'uint64', 'int32'], return: 'uint64' } });
    const f = h.functions;
    const test = () => [f.ZSTD_versionString(), f.ZSTD_isError(f.ZSTD_compressCCtx(f.ZSTD_createCCtx(), Buffer.alloc(500), 500n, Buffer.alloc(1000, 65), 1000n, 3))];
  `,
  'libcrypto.so.3': `
    const context = { arguments: ['pointer', 'pointer', 'pointer'], return: 'int32' };
    const h = open('libcrypto.so.3', { OpenSSL_version: { arguments: ['int32'], return: 'string' }, EVP_MD_CTX_new: { return: 'pointer' }, EVP_sha256: { return: 'pointer' },
      EVP_DigestInit_ex: context, EVP_DigestUpdate: { arguments: ['pointer', 'buffer', 'uint64'], return: 'int32' }, EVP_DigestFinal_ex: { arguments: ['pointer', 'buffer', 'pointer'], return: 'int32' } });
    const f = h.functions;
    const test = () => {
      const context = f.EVP_MD_CTX_new(), digest = Buffer.alloc(32);
      f.EVP_DigestInit_ex(context, f.EVP_sha256(), null);
      f.EVP_DigestUpdate(context, Buffer.from('abc'), 3);
      f.EVP_DigestFinal_ex(context, digest, null);
      return [f.OpenSSL_version(0).split(' ')[1], digest.toString('hex').slice(0, 8) === 'ba7816bf' ? 0 : 1];
    };
  `,
  'libssl.so.3': `
    const h = open('libssl.so.3', { SSL_CTX_new: { arguments: ['pointer'], return: 'pointer' }, TLS_client_method: { return: 'pointer' }, OpenSSL_version: { arguments: ['int32'], return: 'string' },
      SSL_new: { arguments: ['pointer'], return: 'pointer' }, SSL_get_version: { arguments: ['pointer'], return: 'string' } });
    const f = h.functions;
    const test = () => [f.OpenSSL_version(0).split(' ')[1], f.SSL_get_version(f.SSL_new(f.SSL_CTX_new(f.TLS_client_method()))) === 'TLSv1.3' ? 0 : 1];
  `,
  'libcurl.so.4': `
    const h = open('libcurl.so.4', { curl_global_init: { arguments: ['int64'], return: 'int32' }, curl_version: { return: 'string' } });
    const test = () => [h.functions.curl_version().match(/zlib\\/(\\S+)/)[1], h.functions.curl_global_init(3n)];
  `,
} as const;

/** The version in the file that a bare name leads to. */
function versionIn(library: string, pattern: RegExp): string | undefined {
  const path = inspect(library).path;
  return pattern.exec(execFileSync('strings', ['-a', path], { encoding: 'latin1' }))?.[1];
}

const versions = {
  'libz.so.1': ['libz.so.1', / deflate (\S+) Copyright/],
  'libzstd.so.1': ['libzstd.so.1', /^(1\.\d+\.\d+)$/m],
  'libcrypto.so.3': ['libcrypto.so.3', /OpenSSL (\d+\.\d+\.\d+) \d/],
  'libssl.so.3': ['libcrypto.so.3', /OpenSSL (\d+\.\d+\.\d+) \d/],
  'libcurl.so.4': ['libz.so.1', / deflate (\S+) Copyright/],
} as const;

for (const [library, program] of Object.entries(system)) {
  const [definer, pattern] = versions[library as keyof typeof versions];
  t.test(
    `the system's ${library} works with its own code, before and after a swap`,
    { skip: isAbsent(library) },
    async (t) => {
      const wanted = `${versionIn(definer, pattern)},0\n`;
      const ended = await runProgram(
        `
        import { SoHandle } from 'soswap';
        const open = (name, definitions) => SoHandle.open(name, definitions);
        ${program}
        console.log(String(test()));
        await h.swap();
        console.log(String(test()));
      `,
        { cwd: root },
      );
      t.match(ended, { ...exitedCleanly, stdout: wanted + wanted });
    },
  );
}

function isAbsent(library: string): string | false {
  try {
    inspect(library);
    return false;
  } catch {
    return `there is no ${library}`;
  }
}

t.test('inspect lists the exports that the program has too', async (t) => {
  const { programNames } = inspect(put(t.testdir(), 1));
  t.strictSame(programNames, {
    exports: ['inflateEnd'],
    imports: [],
    dependencies: [],
    obstacle: null,
  });
});

t.test('inspect refuses what open() refuses', async (t) => {
  const directory = t.testdir();
  const undefinedSymbol = compile(
    'undefined-symbol.c',
    join(directory, 'undefined.so'),
    '-DLINE=1111',
  );
  const dependency = compile(
    'dependency.c',
    join(directory, 'libgone.so'),
    '-Wl,-soname,libgone.so.9',
  );
  const lacking = join(directory, 'lacking.so');
  compile('action.c', lacking, '-DLINE=1111', '-Wl,--no-as-needed', dependency);
  const threadDebugger = isAbsent('libthread_db.so.1') ? [] : ['libthread_db.so.1'];
  for (const library of [undefinedSymbol, lacking, ...threadDebugger]) {
    const { refusal, unload } = inspect(library);
    t.throws(() => SoHandle.open(library), { code: refusal?.code, message: refusal?.message });
    t.match(unload, { outcome: 'refused', verdict: refusal?.message });
    t.match(await runSoswap(['inspect', library], { cwd: root }), {
      code: 1,
      stdout: refusal?.message,
    });
  }
  const accepted = join(directory, 'accepted.so');
  copyFileSync(put(directory, 1), accepted);
  t.equal(inspect(accepted).refusal, null);
});
