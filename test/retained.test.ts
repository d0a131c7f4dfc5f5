import type { RetainReason } from 'soswap';
import t from 'tap';
import { crashSignals, exitedCleanly } from '../fixtures/child.js';
import {
  type Cause,
  cannotCompile,
  causes,
  compileBoth,
  copyBoth,
  runSwap,
  soSwap,
} from '../fixtures/retain.js';

/** What a program sees of a swap whose old image stays for the reason of this code. */
function seen({ oldData = false }: Cause, code: RetainReason['code'] | undefined) {
  const stays = code !== undefined;
  return {
    before: ['build 1111', 1, 2],
    after: ['build 2222', oldData ? 3 : 1],
    unmapped: !stays,
    retained: stays ? [{ code, detail: /\w \w/ }] : [],
    copies: stays ? 2 : 1,
  };
}

for (const cause of causes) {
  t.test(cause.name, { skip: cannotCompile(cause) }, async (t) => {
    const builds = t.testdir();
    compileBoth(cause, builds);

    for (const [how, order] of [
      ['swapSync', 'close-first'],
      ['swap', 'close-first'],
      ['swapSync', 'open-first'],
      ['swap', 'open-first'],
    ] as const) {
      t.test(`${how}(), ${order}`, async (t) => {
        const swap = soSwap({ ...cause.options }, how, order);
        const ended = await runSwap(cause, swap, copyBoth(builds, t.testdir()));
        t.match(ended, { ...exitedCleanly, messages: [seen(cause, cause.retained.auto)] });
      });
    }

    t.test("unload: 'never'", async (t) => {
      const swap = soSwap({ ...cause.options, unload: 'never' }, 'swap', 'close-first');
      const ended = await runSwap(cause, swap, copyBoth(builds, t.testdir()));
      t.match(ended, {
        ...exitedCleanly,
        messages: [seen({ ...cause, oldData: cause.oldData ?? false }, 'kept')],
      });
    });

    t.test("unload: 'always'", async (t) => {
      const swap = soSwap({ ...cause.options, unload: 'always' }, 'swap', 'close-first');
      const directory = copyBoth(builds, t.testdir());
      if (!cause.crashes) {
        const ended = await runSwap(cause, swap, directory);
        t.match(ended, { ...exitedCleanly, messages: [seen(cause, cause.retained.always)] });
        return;
      }
      // It does what it was told, and the code that still runs is gone.
      const wait = 'await new Promise(() => setInterval(() => {}, 1000));';
      const { signal } = await runSwap(cause, swap, directory, cause.inWorker ? '' : wait);
      t.ok(crashSignals.includes(signal), `${signal}`);
    });
  });
}
