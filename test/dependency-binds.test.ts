import { inspect } from 'soswap';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';

// A dependency that is loaded with a library, stays, and binds symbols of the library's first image.

const directory = t.testdir();

/** The library, with its dependency beside it in a directory of its own. */
function build(name: string, ...flags: string[]): string {
  const cwd = t.testdir({ [name]: {} });
  const below = compile('retain/unique-below.cc', `${cwd}/${name}/libbelow.so`, ...flags);
  return compile('retain/above-unique.cc', `${cwd}/${name}/so.so`, below, '-Wl,-rpath,$ORIGIN');
}

const program = (path: string) => `
  import { SoHandle } from 'soswap';
  const so = SoHandle.open('${path}', { above: { return: 'int32' } });
  const results = [so.functions.above()];
  const retained = [];
  for (let round = 0; round < 3; round++) {
    retained.push((await so.swap()).retained);
    results.push(so.functions.above());
  }
  process.send({ retained, results });
`;

for (const [what, flags, why] of [
  ['a unique symbol', [], 'has STB_GNU_UNIQUE symbols'],
  ['-z nodelete', ['-fno-gnu-unique', '-Wl,-z,nodelete'], 'is linked with -z nodelete'],
] as const) {
  t.test(`a dependency with ${what}`, async (t) => {
    const path = build('stays', ...flags);
    const { outcome, reasons } = inspect(path).unload;
    t.equal(outcome, 'stays-mapped');
    const detail = new RegExp(
      `libbelow\\.so' stays loaded, because it ${why}, and binds '_ZN6Shared`,
    );
    t.match(reasons, [{ code: 'bound-by', detail, cure: /-Bsymbolic/ }]);
    const ended = await runProgram(program(path), { cwd: directory });
    const reason = { code: 'bound-by', detail: /bound to it: .*libbelow\.so/ };
    const message = { retained: [[reason], [], []], results: [5, 6, 7, 8] };
    t.match(ended, { ...exitedCleanly, messages: [message] });
  });

  t.test(`a dependency with ${what} that is bound to its own`, async (t) => {
    const path = build('symbolic', ...flags, '-Wl,-Bsymbolic');
    t.match(inspect(path).unload, { outcome: 'clean', reasons: [] });
    const ended = await runProgram(program(path), { cwd: directory });
    t.match(ended, { ...exitedCleanly, messages: [{ retained: [[], [], []] }] });
  });
}
