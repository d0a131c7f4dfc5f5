import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { drawChart } from './chart.js';
import { describe } from './machine.js';
import { costs, type Results } from './tables.js';

const markers = { begin: '<!-- swap-table -->', end: '<!-- /swap-table -->' };

/** Writes what was measured into README.md, between its markers, and figures and chart into bench/results/. */
export async function publish(results: Results, root: string): Promise<void> {
  const directory = join(root, 'bench', 'results');
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'swap.json'), `${JSON.stringify(results, undefined, 2)}\n`);
  for (const background of ['light', 'dark'] as const) {
    const chart = await drawChart(results.cases, background);
    writeFileSync(join(directory, `swap-${background}.svg`), `${chart}\n`);
  }
  const readme = join(root, 'README.md');
  const [before, rest = ''] = readFileSync(readme, 'utf8').split(markers.begin);
  const [, after] = rest.split(markers.end);
  if (after === undefined) throw new Error(`README.md lacks ${markers.begin} … ${markers.end}`);
  const text = [costs(results.cases), ...sentences(results)].join('\n\n');
  writeFileSync(readme, `${before}${markers.begin}\n${text}\n${markers.end}${after}`);
}

function sentences({ machine, endurance, start }: Results): string[] {
  const said = [`Measured on ${describe(machine)}.`];
  for (const [way, { swaps, before, after }] of Object.entries(endurance ?? {})) {
    said.push(
      `After ${swaps.toLocaleString('en-US')} × \`${way}\` the process has ${after.residentKiB} KiB of memory (before: ` +
        `${before.residentKiB}), ${after.descriptors} descriptors (${before.descriptors}) and ${after.mappings} mappings ` +
        `(${before.mappings}).`,
    );
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
