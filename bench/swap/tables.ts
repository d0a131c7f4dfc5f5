import type { Delays, Endurance, Start } from './beside.js';
import type { Verdict } from './limits.js';
import { describe, type Machine } from './machine.js';
import type { CaseResult, Measured } from './measure.js';

/** All that a run has measured. */
export interface Results {
  readonly machine: Machine;
  readonly cases: readonly CaseResult[];
  readonly limits: readonly Verdict[];
  readonly underLoad?: Readonly<Record<string, Delays>>;
  readonly endurance?: Readonly<Record<string, Endurance>>;
  readonly start?: Readonly<Record<string, Start>>;
}

type Row = readonly string[];

/** Markdown; all columns but the first to the right. */
function table(head: Row, rows: readonly Row[]): string {
  const line = (cells: Row) => `| ${cells.join(' | ')} |`;
  return [line(head), `| --- |${' ---: |'.repeat(head.length - 1)}`, ...rows.map(line)].join('\n');
}

/** Microseconds with as many digits as mean something. */
export function micro(time: number): string {
  if (time < 10) return time.toFixed(1);
  return Math.round(time).toLocaleString('en-US');
}

const times = (ratio: number) => `×${ratio < 10 ? ratio.toFixed(2) : micro(ratio)}`;

/** As "15 KB". */
export function size(bytes: number): string {
  if (bytes < 1e6) return `${Math.round(bytes / 1e3)} KB`;
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

function nameOf({ library, bytes, functions, handles }: CaseResult): string {
  const bound = functions === 1 ? '' : `, ${functions.toLocaleString('en-US')} functions`;
  const open = handles === 1 ? '' : `, ${handles.toLocaleString('en-US')} handles open`;
  return `${library}, ${size(bytes)}${bound}${open}`;
}

/** The columns of {@link costs}: who, and which of the figures. */
const columns: readonly [name: string, contender: string, figure: 'pause' | 'total'][] = [
  ['C', 'C', 'total'],
  ['C in Node.js', 'C in Node.js', 'total'],
  ['`swapSync()`', 'swapSync', 'total'],
  ['`swap()` pause', 'swap', 'pause'],
  ['`open-first` pause', 'swap open-first', 'pause'],
  ['koffi', 'koffi', 'total'],
  ['ffi-rs', 'ffi-rs', 'total'],
  ['node:ffi', 'node:ffi', 'total'],
];

function cell(measured: Measured | undefined, contender: string, figure: 'pause' | 'total') {
  if (measured === undefined) return '';
  const time = micro(measured[figure].median);
  const ratio = measured[figure === 'pause' ? 'pauseRatio' : 'totalRatio'].median;
  return contender === 'C' ? time : `${time} ${times(ratio)}`;
}

/** What a swap costs in each case, in microseconds and times C. */
export function costs(results: readonly CaseResult[]): string {
  const present = columns.filter(([, name]) => results.some((it) => name in it.contenders));
  return table(
    ['library', ...present.map(([name]) => name)],
    results.map((result) => [
      nameOf(result),
      ...present.map(([, name, figure]) => cell(result.contenders[name], name, figure)),
    ]),
  );
}

function spreads(results: readonly CaseResult[]): string {
  const rows = results.flatMap((result) =>
    Object.entries(result.contenders).map(([name, { pause, total, held, told }]) => [
      result.name,
      name,
      ...[pause, total].map((it) => `${micro(it.median)} (${micro(it.low)}–${micro(it.high)})`),
      micro(held.median),
      told === null ? '' : micro(told),
    ]),
  );
  return table(['case', 'way', 'pause', 'total', 'main thread in all', 'as reported'], rows);
}

/** Everything, for a terminal. */
export function everything(results: Results): string {
  const { machine, cases, limits, underLoad, endurance, start } = results;
  const parts = [`${describe(machine)}.`];
  if (cases.length > 0) {
    parts.push('Microseconds, and × what C takes: medians of all rounds.', costs(cases));
    parts.push('Medians, and what a tenth of the rounds are below and above.', spreads(cases));
  }
  if (underLoad) {
    const rows = Object.entries(underLoad).map(([way, it]) => [
      way,
      ...[it.middle, it.most, it.nearlyAll, it.longest].map(micro),
      String(it.swaps),
    ]);
    const head = ['libsqlite3 under a load of calls', '50 %', '99 %', '99.9 %', 'longest', 'swaps'];
    parts.push('Microseconds from one turn of the event loop to the next.', table(head, rows));
  }
  if (endurance) {
    const head = ['left behind', 'memory', "outside of V8's heap", 'descriptors', 'mappings'];
    const rows = Object.entries(endurance).map(([way, { swaps, before, after }]) => [
      `${swaps.toLocaleString('en-US')} × ${way}`,
      `${before.residentKiB} → ${after.residentKiB} KiB`,
      `${before.outsideHeapKiB} → ${after.outsideHeapKiB} KiB`,
      `${before.descriptors} → ${after.descriptors}`,
      `${before.mappings} → ${after.mappings}`,
    ]);
    parts.push(table(head, rows));
  }
  if (start) {
    const rows = Object.entries(start).map(([name, { importing, opening }]) => [
      name,
      importing.median.toFixed(1),
      opening.median.toFixed(2),
    ]);
    parts.push('Milliseconds.', table(['package', 'import', 'open and bind the first'], rows));
  }
  if (limits.length > 0) {
    const rows = limits.map(({ wanted, case: name, limit, measured, unit, reached }) => [
      `${reached ? 'reached' : 'NOT reached'}: ${wanted}`,
      name,
      `${limit} ${unit}`,
      `${unit === 'µs' ? micro(measured) : measured.toFixed(2)} ${unit}`,
    ]);
    parts.push(table(['wanted', 'case', 'limit', 'measured'], rows));
  }
  return parts.join('\n\n');
}
