import { renameSync } from 'node:fs';
import { join } from 'node:path';
import type { RetainReason } from 'soswap';
import t, { type Test } from 'tap';
import { crashSignals, type Ended, exitedCleanly } from '../fixtures/child.js';
import {
  type Cause,
  cannotCompile,
  causes,
  compileBoth,
  copyBoth,
  runSwap,
  type Seen,
  soSwap,
} from '../fixtures/retain.js';

/** Asserts what a program saw of a swap whose old image stays for the reason of this code, or goes. */
function check(t: Test, ended: Ended, cause: Cause, code: RetainReason['code'] | undefined): void {
  t.match(ended, exitedCleanly);
  const [{ retained = [], ...seen } = {}] = ended.messages as (Seen | undefined)[];
  t.same(seen, {
    before: ['build 1111', 1, 2],
    after: ['build 2222', cause.oldData ? 3 : 1],
    unmapped: code === undefined,
    copies: code === undefined ? 1 : 2,
  });
  t.same(
    retained.map((reason) => reason.code),
    code === undefined ? [] : [code],
  );
  for (const { detail } of retained) t.match(detail, /\w \w/);
}

// Go has a test of its own.
for (const cause of causes.filter(({ source }) => !source.endsWith('.go'))) {
  t.test(cause.name, { skip: cannotCompile(cause) }, async (t) => {
    const builds = t.testdir();
    compileBoth(cause, builds);

    for (const [how, order] of [
      ['swapSync', 'close-first'],
      ['swap', 'open-first'],
    ] as const) {
      t.test(`${how}(), ${order}`, async (t) => {
        const swap = soSwap({ ...cause.options }, how, order);
        const ended = await runSwap(cause, swap, copyBoth(builds, t.testdir()));
        check(t, ended, cause, cause.retained.auto);
      });
    }

    t.test("unload: 'always'", async (t) => {
      const swap = soSwap({ ...cause.options, unload: 'always' }, 'swap', 'close-first');
      const directory = copyBoth(builds, t.testdir());
      if (cause.crashes !== 'always') {
        const ended = await runSwap(cause, swap, directory);
        check(t, ended, cause, cause.retained.always);
        return;
      }
      // It does what it was told, and the code that still runs is gone.
      const wait = 'await new Promise(() => setInterval(() => {}, 1000));';
      const { code, signal } = await runSwap(cause, swap, directory, cause.inWorker ? '' : wait);
      t.equal(code, null);
      t.ok(crashSignals.includes(signal), `${signal}`);
    });
  });
}

// An image that would go by itself, and one that another reason holds as well.
for (const cause of [causes[0]!, causes[1]!]) {
  t.test(`${cause.name}, with unload: 'never'`, async (t) => {
    const directory = t.testdir();
    compileBoth(cause, directory);
    renameSync(join(directory, 'so1.so'), join(directory, 'so.so'));
    const swap = soSwap({ ...cause.options, unload: 'never' }, 'swap', 'close-first');
    check(t, await runSwap(cause, swap, directory), cause, 'kept');
  });
}

t.test(
  'a C library that never unmaps: libc-never-unmaps',
  { skip: 'needs a Node.js that was built for musl' },
  async () => {},
);
