import { copyFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import {
  inspect,
  type OpenOptions,
  type RetainReason,
  type SoInfo,
  type UnloadVerdict,
} from 'soswap';
import t from 'tap';
import { buildIdOf, compile, compileAction } from '../fixtures/build.js';
import {
  crashSignals,
  exitedCleanly,
  importHeld,
  importUntil,
  runProgram,
} from '../fixtures/child.js';
import { cannotCompile, causes, compileCause } from '../fixtures/retain.js';

const directory = t.testdir();
const library = compileAction(join(directory, 'so1.so'), 1111);

t.test('the facts are those that readelf(1) shows', async (t) => {
  const dependency = compile('dependency.c', join(directory, 'libdependency.so'));
  const path = compileAction(
    join(directory, 'full.so'),
    1111,
    '-Wl,-soname,libfull.so.7',
    '-Wl,-rpath,$ORIGIN:/opt/lib',
    '-Wl,-z,now',
    '-Wl,--no-as-needed',
    dependency,
    '-Wl,--no-as-needed',
    '-lm',
  );
  const info = inspect(path);
  t.match(info, {
    path,
    soname: 'libfull.so.7',
    buildId: buildIdOf(path),
    machine: { x64: 'x86-64', arm64: /aarch64|arm64/i }[process.arch as 'x64' | 'arm64'],
    runpath: '$ORIGIN:/opt/lib',
    rpath: null,
    flags: ['bind-now'],
    plain: { outcome: 'clean', reasons: [] },
    unload: { outcome: 'clean', reasons: [] },
  });
  t.ok(info.memorySize >= 4096 && info.size > 10_000);
  const found = new Map(info.dependencies.map(({ name, path }) => [basename(name), path]));
  t.equal(found.get('libdependency.so'), dependency);
  t.match(found.get('libm.so.6'), /^\/.*libm\.so\.6$/);
  const names = info.exports.map(({ name }) => name);
  for (const name of ['action', 'version', 'count', 'quote']) t.ok(names.includes(name), name);
  t.match(
    info.exports.find(({ name }) => name === 'action'),
    { type: 'function', binding: 'global', version: '' },
  );
  t.match(
    info.imports.find(({ name }) => name === 'puts'),
    { version: /^GLIBC_/, weak: false },
  );
});

t.test('a dependency that is not found has the places where it was looked for', async (t) => {
  const dependency = compile(
    'dependency.c',
    join(directory, 'libgone.so'),
    '-Wl,-soname,libgone.so.9',
  );
  const flags = ['-Wl,-rpath,/opt/absent', '-Wl,--no-as-needed', dependency];
  const info = inspect(compileAction(join(directory, 'lacking.so'), 1111, ...flags));
  const gone = info.dependencies.find(({ name }) => name === 'libgone.so.9');
  t.match(gone, { path: null, neededBy: info.path });
  t.ok(gone?.lookedIn?.includes('/opt/absent'), `${gone?.lookedIn}`);
});

t.test('a file that is no library is refused', async (t) => {
  const text = join(directory, 'text.so');
  writeFileSync(text, 'text');
  t.throws(() => inspect(text), { code: 'ERR_SOSWAP_NOT_ELF', path: text });
  t.throws(() => inspect(directory), { code: 'ERR_SOSWAP_NOT_A_FILE' });
  t.throws(() => inspect('libabsent.so.9'), { code: 'ERR_SOSWAP_NOT_FOUND' });
  t.throws(() => inspect(''), { code: 'ERR_INVALID_ARG_VALUE' });
});

t.test('no code of the library runs', async (t) => {
  const source = join(directory, 'exits.c');
  writeFileSync(source, '#include <stdlib.h>\n__attribute__((constructor)) void f() { exit(9); }');
  const path = join(directory, 'exits.so');
  compile(source, path);
  const program = `
    import { inspect } from 'soswap';
    process.send(inspect('${path}').unload.outcome);
  `;
  t.match(await runProgram(program, { cwd: directory }), { ...exitedCleanly, messages: ['clean'] });
});

/** What a child process saw of a library that it loaded and closed. */
interface Proof {
  readonly stays: boolean;
  readonly retained: readonly RetainReason['code'][];
}

/** By dlopen(3) and dlclose(3) of the path itself, after calling version() and count() if it has them. */
const plainProof = (path: string, before = '') => `
  import { readFileSync } from 'node:fs';
  import * as dl from 'soswap/dl';
  const handle = dl.dlopen('${path}');
  const call = (symbol, definition) => dl.functionAt(dl.dlsym(handle, symbol), definition);
  ${before}
  dl.dlclose(handle);
  const stays = readFileSync('/proc/self/maps', 'utf8').includes(' ${path}\\n');
  process.send({ stays, retained: [] });
`;

/** By a SoHandle. */
const handleProof = (path: string, options: OpenOptions, before = '') => `
  import { loaded, SoHandle } from 'soswap';
  const so = SoHandle.open('${path}', {}, ${JSON.stringify(options)});
  const call = (symbol, definition) => so.getFunction(symbol, definition);
  ${before}
  so.close();
  const images = loaded();
  const retained = images.flatMap(({ retained }) => retained.map(({ code }) => code));
  process.send({ stays: images.length > 0, retained });
`;

async function prove(program: string): Promise<Proof> {
  const ended = await runProgram(program, { cwd: directory });
  if (ended.messages.length === 0) throw new Error(`${ended.signal} ${ended.code} ${ended.stderr}`);
  return ended.messages[0] as Proof;
}

const codesOf = (info: SoInfo, verdict: 'plain' | 'unload') =>
  info[verdict].reasons.map(({ code }) => code);

/** What the file itself tells; that others need it, it cannot know. */
const ownCauses = causes.filter(
  ({ retained: { auto }, options }) => auto !== 'needed-by' && options === undefined,
);

const beginnings: Readonly<Record<UnloadVerdict['outcome'], RegExp>> = {
  clean: /unmap/,
  'stays-mapped': /stays mapped .*\w \w/,
  'may-crash': /crash .*\w \w/,
};

const touch = `
  call('version', { return: 'string' })();
  call('count', { return: 'int32' })();
`;

for (const cause of ownCauses) {
  t.test(`the verdict of ${cause.name}`, { skip: cannotCompile(cause) }, async (t) => {
    const path = compileCause(cause, join(directory, `${causes.indexOf(cause)}.so`), 1111);
    const info = inspect(path);

    const plain = await prove(plainProof(path, touch));
    const handle = await prove(handleProof(path, {}, touch));
    const { auto } = cause.retained;
    t.equal(handle.stays, auto !== undefined, 'what SoHandle does');
    t.equal(info.unload.outcome === 'clean', auto === undefined, info.unload.outcome);
    if (auto !== undefined) {
      t.ok(codesOf(info, 'unload').includes(auto), `${codesOf(info, 'unload')} has ${auto}`);
      t.ok(handle.retained.includes(auto), `${handle.retained} has ${auto}`);
    }
    if (plain.stays) t.not(info.plain.outcome, 'clean', 'dlclose(3) leaves it mapped');
    if (info.plain.outcome === 'clean') t.equal(plain.stays, false);
    if (info.plain.outcome === 'stays-mapped') t.equal(plain.stays, true);
    for (const { code, cure } of [...info.plain.reasons, ...info.unload.reasons]) {
      if (info.flags.includes('go'))
        t.equal(cure, undefined, `nothing helps against ${code} of Go`);
      else t.match(cure, /\w+ \w+/, code);
    }
    t.match(info.unload.verdict, beginnings[info.unload.outcome]);
    t.match(info.plain.verdict, beginnings[info.plain.outcome]);
    if (!cause.crashes) return;
    t.equal(info.unload.outcome, 'may-crash');
    t.equal(info.plain.outcome, 'may-crash');
    if (cause.inWorker) return; // test/retained.test.ts lets a worker end
    const dies = `
      ${importUntil}
      ${plainProof(path, `${touch}${cause.before ?? ''}`)}
      await until('the process dies', () => false);
    `;
    const { code, signal } = await runProgram(dies, { cwd: directory });
    t.equal(code, null);
    t.ok(crashSignals.includes(signal), `dlclose(3) under its thread: ${signal}`);
  });
}

t.test('GNU_UNIQUE symbols matter to dlclose(3), and not to SoHandle', async (t) => {
  const path = join(directory, 'unique.so');
  compile('retain/unique-symbol.cc', path, '-DLINE=1111');
  t.match(inspect(path), {
    plain: {
      outcome: 'stays-mapped',
      verdict: /STB_GNU_UNIQUE/,
      reasons: [{ code: 'unique-symbol', effect: 'stays-mapped', cure: /-fno-gnu-unique/ }],
    },
    unload: { outcome: 'clean', reasons: [] },
  });
  compile('retain/unique-symbol.cc', path, '-DLINE=1111', '-fno-gnu-unique');
  t.match(inspect(path).plain, { outcome: 'clean' }, 'the cure helps');
});

t.test('a library that is linked with -z nodelete stays mapped', async (t) => {
  const path = compileAction(join(directory, 'nodelete.so'), 1111, '-Wl,-z,nodelete');
  const reasons = [{ code: 'nodelete', cure: /-z nodelete/ }];
  const verdict = { outcome: 'stays-mapped', verdict: /-z nodelete/, reasons };
  t.match(inspect(path), { flags: ['nodelete'], plain: verdict, unload: verdict });
  t.match(await prove(handleProof(path, { unload: 'always' })), { stays: false }, 'the cure helps');
});

for (const name of [
  'libcrypto.so.3',
  'libstdc++.so.6',
  'libsqlite3.so.0',
  'libz.so.1',
  'libgomp.so.1',
]) {
  const found = find(name);
  t.test(
    `the verdict of the system's ${name}`,
    { skip: found ? false : `there is no ${name}` },
    async (t) => {
      if (found === undefined) return;
      // A copy: node itself may have the library.
      const path = join(t.testdir(), name);
      copyFileSync(found, path);
      const info = inspect(path);
      t.equal(info.soname, name);
      t.ok(info.exports.length > 50 && info.imports.length > 10);
      t.ok(
        info.dependencies.every(({ path, defect }) => path !== null && defect === undefined),
        'its dependencies are found',
      );

      const plain = await prove(plainProof(path));
      const handle = await prove(handleProof(path, {}));
      const always = await prove(handleProof(path, { unload: 'always' }));
      t.comment(name, info.plain.outcome, info.unload.outcome, plain, handle, always);
      t.equal(
        info.unload.outcome !== 'clean',
        handle.stays,
        `${info.unload.outcome} with SoHandle`,
      );
      for (const code of handle.retained) t.ok(codesOf(info, 'unload').includes(code), code);
      if (info.plain.outcome === 'clean') t.equal(plain.stays, false, 'dlclose(3) unmaps it');
      if (info.plain.outcome === 'stays-mapped') t.equal(plain.stays, true, 'dlclose(3) does not');
      // Nothing of it has run, so that even what may crash can go, once it is told to.
      if (info.unload.outcome === 'may-crash') t.equal(always.stays, false, "unload: 'always'");
    },
  );
}

/** The path of a library of the system. */
function find(name: string): string | undefined {
  try {
    return inspect(name).path;
  } catch {
    return undefined;
  }
}

t.test('nothing of an inspection stays behind', async (t) => {
  const program = `
    import { inspect, loaded } from 'soswap';
    ${importHeld}
    inspect('${library}');
    const before = held();
    for (let round = 0; round < 100; round++) inspect('${library}');
    process.send([before, held(), loaded()]);
  `;
  const { messages, ...ended } = await runProgram(program, { cwd: directory });
  t.match(ended, exitedCleanly);
  const [[before, after, images]] = messages as [unknown[]];
  t.same(after, before);
  t.same(images, []);
});
