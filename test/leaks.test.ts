import { fileURLToPath } from 'node:url';
import t from 'tap';
import { exitedCleanly, root, runNode } from '../fixtures/child.js';

// The same in long: see there.
const campaign = fileURLToPath(new URL('campaigns/swaps.js', import.meta.url));
const swaps = 2000;
// V8's optimising compilers take megabytes once, at a time of their own: Node.js 24 and 26.
const unoptimised = ['--no-opt', '--no-maglev'];

interface Sample {
  readonly swaps: number;
  readonly retained: number;
  readonly rssKiB: number;
  readonly mappings: number;
  /** Descriptors, mappings with a name, threads, images. */
  readonly exact: object;
}

const storages: Record<string, Record<string, string>> = {
  'in memory': {},
  'in a private file': { SOSWAP_SNAPSHOT: 'file' },
};

for (const [storage, env] of Object.entries(storages)) {
  for (const order of ['close-first', 'open-first']) {
    t.test(`${swaps} swaps, ${order}, copies ${storage}: nothing is left behind`, async (t) => {
      const options = ['--json', '--swaps', `${swaps}`, '--order', order];
      const args = ['--expose-gc', '--max-semi-space-size=1', ...unoptimised, campaign, ...options];
      const ended = await runNode(args, { cwd: root, env });
      t.match(ended, exitedCleanly);
      const samples: Sample[] = JSON.parse(ended.stdout);
      // The first fifth is for what a process grows to once: code that V8 compiles, malloc's arenas.
      const [, warm, ...later] = samples as [Sample, Sample, ...Sample[]];
      const last = later.at(-1)!;
      t.match(last, { swaps, retained: 0 });
      t.same(last.exact, warm.exact, 'descriptors, named mappings, threads, images');
      // V8 and malloc(3) take and return pages of their own. A page and a mapping for each of the 1,600 swaps between
      // the two samples would be 6,400 KiB and 1,600 lines.
      t.ok(last.rssKiB - warm.rssKiB < 4000, `resident KiB: ${warm.rssKiB}, then ${last.rssKiB}`);
      t.ok(last.mappings - warm.mappings < 50, `mappings: ${warm.mappings}, then ${last.mappings}`);
    });
  }
}
