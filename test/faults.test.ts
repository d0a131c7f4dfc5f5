import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, runNode, runProgram } from '../fixtures/child.js';

const cwd = fileURLToPath(new URL('..', import.meta.url));
const program = fileURLToPath(new URL('../fixtures/fault-program.js', import.meta.url));
const directory = t.testdir();
const preload = compile('failing.cc', join(directory, 'failing.so'));

// Two builds with a dependency beside them; only the first has first_only().
compile('below.c', `${directory}/libbelow.so`, '-DNUMBER=0');
for (const build of [1, 2]) {
  compile(
    'fault.c',
    `${directory}/${build}.so`,
    `-DBUILD=${build}`,
    ...[`-L${directory}`, '-lbelow', '-Wl,-rpath,$ORIGIN'],
  );
}

/** How many calls of a kind a swap makes at least, so that a test without an injected fault fails. */
const kinds = { new: 40, dlopen: 2, mmap: 1, memfd_create: 1, fallocate: 1 };

for (const form of ['swapSync', 'swap'] as const) {
  for (const order of ['close-first', 'open-first'] as const) {
    for (const verified of ['plain', 'verify'] as const) {
      t.test(`${form}, ${order}, ${verified}: whatever fails, one build runs`, async (t) => {
        for (const [kind, least] of Object.entries(kinds)) {
          const args = [program, directory, form, order, kind, verified];
          const ended = await runNode(args, { cwd, env: { LD_PRELOAD: preload } });
          t.match(ended, exitedCleanly, kind);
          const [outcomes] = ended.messages as [Record<string, number>];
          t.ok((outcomes?.calls ?? 0) >= least, `${kind}: ${JSON.stringify(outcomes)}`);
          t.equal(outcomes?.['not-loaded'], 0);
          if (kind === 'new' && order === 'close-first') t.ok((outcomes?.['rolled-back'] ?? 0) > 0);
          if (order === 'open-first') t.equal(outcomes?.['rolled-back'], 0);
        }
      });
    }
  }
}

t.test('where the loader refuses bound imports, a warning says so once', async (t) => {
  const text = (call: number) => `
    import { SoHandle } from 'soswap';
    import * as dl from 'soswap/dl';
    const failAt = dl.functionAt(dl.dlsym(dl.dlopen(null), 'fail_at'), { arguments: ['string', 'int32'] });
    failAt('dlopen', ${call});
    const build = { build: { return: 'int32' } };
    const [one, two] = ['1.so', '2.so'].map((name) => SoHandle.open('${directory}/' + name, build));
    process.send([one.functions.build(), two.functions.build()]);
  `;
  const warnings: number[] = [];
  for (const call of [1, 2]) {
    const ended = await runProgram(text(call), { cwd, env: { LD_PRELOAD: preload } });
    t.match(ended, { code: 0, signal: null, messages: [[1, 2]] }, 'the library runs without them');
    warnings.push(ended.stderr.match(/SOSWAP_UNBOUND_IMPORTS/g)?.length ?? 0);
  }
  t.same(warnings, [0, 1], 'the addon first pins itself, then asks the loader');
});
