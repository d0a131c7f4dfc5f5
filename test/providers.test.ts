import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, root, runNode } from '../fixtures/child.js';

const program = fileURLToPath(new URL('../fixtures/providers/program.js', import.meta.url));

const directory = t.testdir();
const at = (name: string) => join(directory, name);
for (const version of [1, 2]) {
  mkdirSync(at(`v${version}`));
  const core = at(`v${version}/libcore.so`);
  compile('providers/core.cc', core, `-DVERSION=${version}`, '-Wl,-soname,libcore.so');
}
const core = at('v1/libcore.so');
compile('providers/plugin.cc', at('plugin.so'), core);
compile('providers/plugin.cc', at('lacking.so'), '-DABSENT', core);
compile('providers/plugin.cc', at('shared.so'), core, '-Wl,-soname,my-libcore.so', '-fuse-ld=bfd');
// What a search would find.
copyFileSync(core, at('libcore.so'));

/** What a case of the program found, in a process of its own. */
async function resultOf(name: string): Promise<unknown> {
  const ended = await runNode([program, name, directory], {
    cwd: root,
    env: { LD_LIBRARY_PATH: directory },
  });
  t.match(ended, exitedCleanly, name);
  return ended.messages[0];
}

t.test('a library runs with the image that it is given, 100 times to and fro', async (t) => {
  t.same(await resultOf('swing'), {
    turns: 100,
    wrong: [],
    more: 0,
    unmapped: [[], []],
    left: 0,
  });
});

t.test('an exchange binds its parts to each other, and restores them so', async (t) => {
  const refused = [
    { missing: [], restored: true },
    { missing: ['answer'], restored: true },
  ];
  t.same(await resultOf('exchange'), {
    results: [
      [1, 1111],
      [1, 1111],
      [1, 1111],
      [2, 2222],
    ],
    refused,
    refusedAgain: refused,
    taken: true,
    closed: [[], []],
    left: 0,
  });
});

t.test('an image is bound to its providers on another thread', async (t) => {
  t.same(await resultOf('threads'), { answer: 2222, reasons: [], closed: [], left: 0 });
});

t.test('a provider is needed by the library, not by a private copy', async (t) => {
  const result = (await resultOf('needed')) as { reasons: unknown };
  const { reasons, ...rest } = result;
  t.match(reasons, [{ code: 'needed-by', detail: `other objects need it: ${at('plugin.so')}` }]);
  t.same(rest, {
    neededBy: [
      { path: at('v2/libcore.so'), neededBy: [at('plugin.so')] },
      { path: at('plugin.so'), neededBy: [] },
    ],
    answer: 2222,
    last: [],
    left: 0,
  });
});

t.test('a copy that another process took is bound by the names in it', async (t) => {
  t.same(await resultOf('adopted'), { answer: 2222, closed: [[], []] });
});

t.test('a provider comes before the program, where both have a name', async (t) => {
  compile('providers/zlib.c', at('libzlib.so'), '-Wl,-soname,libzlib.so');
  compile('providers/zlib-user.c', at('zlib-user.so'), at('libzlib.so'));
  t.match(await resultOf('contested'), { answer: 7, ownFirst: true });
});

t.test('what cannot be bound is refused', async (t) => {
  const path = at('plugin.so');
  t.match(await resultOf('refusals'), {
    links: { soname: null, needed: true, provided: ['libcore.so'] },
    resolution: null,
    count: { name: 'TypeError', message: /not as many images/ },
    gone: { code: 'ERR_SOSWAP_LOADER', path, message: /not loaded any more/ },
    shared: { code: 'ERR_SOSWAP_SHARED_NAME', path: at('shared.so'), message: /-Wl,-soname/ },
    closed: [],
  });
});
