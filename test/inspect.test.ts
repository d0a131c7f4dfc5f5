import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { inspect } from 'soswap';
import t from 'tap';
import { buildIdOf, compile, compileAction } from '../fixtures/build.js';
import { exitedCleanly, importHeld, runProgram } from '../fixtures/child.js';

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
