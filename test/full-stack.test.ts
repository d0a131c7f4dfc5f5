import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { compile, compileAction } from '../fixtures/build.js';
import { exitedCleanly, runNode } from '../fixtures/child.js';

const cwd = fileURLToPath(new URL('..', import.meta.url));
const program = fileURLToPath(new URL('../fixtures/full-stack.js', import.meta.url));

t.test('a full stack leaves nothing half done, and no call unanswered', async (t) => {
  const directory = t.testdir();
  compileAction(join(directory, 'so1.so'), 1111);
  compileAction(join(directory, 'so2.so'), 2222);
  compile('throws.cc', join(directory, 'throws.so'));
  // Compiled code would make frames smaller on the way.
  const flags = ['--jitless'];
  const ended = await runNode([...flags, program, directory], { cwd });
  // V8 may say that it disables WebAssembly too.
  t.match(ended, { ...exitedCleanly, stderr: /^(Warning: disabling flag .*\n)?$/ });
  const [told] = ended.messages as [Told];
  t.same(told.problems, []);
  const { swaps, events, closes, calls } = told;
  t.equal(events.swap, swaps.returned);
  // Where there is no room even for the first frame of swapSync(), no swap was begun.
  const unreported = swaps.threw - events.refused;
  t.ok(unreported >= 0 && unreported <= 20, `${unreported} failed swaps emitted nothing`);
  t.equal(swaps.returned + swaps.threw, 1000);
  t.ok(swaps.returned > 100 && swaps.threw > 100, JSON.stringify(swaps));
  t.ok(closes.returned > 100 && closes.threw > 100, JSON.stringify(closes));
  for (const count of Object.values(calls)) t.equal(count.threw, 1000);
});

interface Count {
  readonly entered: number;
  readonly returned: number;
  readonly threw: number;
}

interface Told {
  readonly problems: string[];
  readonly swaps: Count;
  readonly closes: Count;
  readonly calls: Record<string, Count>;
  readonly events: { readonly swap: number; readonly refused: number };
  readonly lined: number;
  readonly rejected: number;
}
