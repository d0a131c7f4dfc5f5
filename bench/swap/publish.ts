import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { drawChart } from './chart.js';
import { describe } from './machine.js';
import { costs, type Results } from './tables.js';

const markers = { begin: '<!-- swap-table -->', end: '<!-- /swap-table -->' };

/** Writes the table into docs/cost.md, between its markers, the chart beside it, and all figures into bench/results/. */
export async function publish(results: Results, root: string): Promise<void> {
  const [figures, docs] = [join(root, 'bench', 'results'), join(root, 'docs')];
  mkdirSync(figures, { recursive: true });
  writeFileSync(join(figures, 'swap.json'), `${JSON.stringify(results, undefined, 2)}\n`);
  for (const background of ['light', 'dark'] as const) {
    const chart = await drawChart(results.cases, background);
    writeFileSync(join(docs, `swap-${background}.svg`), `${chart}\n`);
  }
  const document = join(docs, 'cost.md');
  const [before, rest = ''] = readFileSync(document, 'utf8').split(markers.begin);
  const [, after] = rest.split(markers.end);
  if (after === undefined) throw new Error(`${document} lacks ${markers.begin} … ${markers.end}`);
  const text = [costs(results.cases), ...sentences(results)].join('\n\n');
  writeFileSync(document, `${before}${markers.begin}\n${text}\n${markers.end}${after}`);
}

function sentences({ machine, endurance, start }: Results): string[] {
  const said = [`Measured on ${describe(machine)}.`];
  for (const [way, { swaps, before, after }] of Object.entries(endurance ?? {})) {
    const memory = `${after.outsideHeapKiB} KiB of memory outside of V8's heap (before: ${before.outsideHeapKiB})`;
    const descriptors = `${after.descriptors} descriptors (${before.descriptors})`;
    const mappings = `${after.mappings} mappings (${before.mappings})`;
    const done = `${swaps.toLocaleString('en-US')} × \`${way}\``;
    said.push(`After ${done} the process has ${memory}, ${descriptors} and ${mappings}.`);
  }
  if (start?.soswap !== undefined) {
    const { importing, opening } = start.soswap;
    said.push(
      `It takes ${importing.median.toFixed(0)} ms to import the package, and ${opening.median.toFixed(1)} ms to open ` +
        'the first library.',
    );
  }
  return said;
}
