import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import type { CaseResult } from './measure.js';
import { size } from './tables.js';

/** What the chart lies on. */
export type Background = 'light' | 'dark';

const colours = {
  light: { text: '#1f2328', muted: '#59636e', grid: '#d1d9e0', ours: '#0969da', others: '#bc4c00' },
  dark: { text: '#f0f6fc', muted: '#9198a1', grid: '#3d444d', ours: '#58a6ff', others: '#f0883e' },
} as const;

/** Top to bottom; each with the words of the chart. */
const ways: Readonly<Record<string, string>> = {
  C: 'C program',
  'C in Node.js': 'C inside of Node.js',
  swapSync: 'swapSync()',
  swap: 'swap()',
  'swap open-first': 'swap(), open-first',
  koffi: 'koffi',
  'ffi-rs': 'ffi-rs',
  'node:ffi': 'node:ffi',
};

interface Point {
  readonly library: string;
  readonly way: string;
  readonly whose: 'C' | 'soswap' | 'others';
  /** Microseconds. */
  readonly pause: number;
  readonly total: number;
}

function pointsOf(results: readonly CaseResult[]): Point[] {
  return results.flatMap(({ library, bytes, contenders }) =>
    Object.entries(ways).flatMap(([name, way]): Point[] => {
      const measured = contenders[name];
      if (measured === undefined) return [];
      const whose = name.startsWith('C') ? 'C' : name.startsWith('swap') ? 'soswap' : 'others';
      const [pause, total] = [measured.pause.median, measured.total.median];
      return [{ library: `${library}, ${size(bytes)}`, way, whose, pause, total }];
    }),
  );
}

function specification(points: readonly Point[], background: Background): TopLevelSpec {
  const { text, muted, grid, ours, others } = colours[background];
  const x = {
    type: 'quantitative' as const,
    scale: { type: 'log' as const, nice: true },
    axis: {
      title: 'logarithmic',
      labelExpr:
        "datum.value < 1e3 ? datum.value + ' µs' : datum.value < 1e6 ? datum.value / 1e3 + ' ms' : '1 s'",
      values: [10, 100, 1000, 10_000, 100_000, 1_000_000],
    },
  };
  const y = { field: 'way', type: 'nominal' as const, sort: null, title: null };
  const colour = {
    field: 'whose',
    type: 'nominal' as const,
    legend: null,
    scale: { domain: ['C', 'soswap', 'others'], range: [muted, ours, others] },
  };
  const libraries = [...new Set(points.map(({ library }) => library))];
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    data: { values: [...points] },
    title: {
      text: 'What a swap costs',
      subtitle: '● main thread held · ○ from the call to its end · ┆ the C program',
      anchor: 'start',
      offset: 12,
    },
    facet: { row: { field: 'library', type: 'nominal', sort: libraries, title: null } },
    spacing: 14,
    spec: {
      width: 520,
      height: { step: 17 },
      layer: [
        {
          transform: [{ filter: "datum.way === 'C program'" }],
          mark: { type: 'rule', strokeDash: [2, 3], color: muted },
          encoding: { x: { ...x, field: 'total' } },
        },
        {
          mark: { type: 'rule', strokeWidth: 1.5 },
          encoding: { y, x: { ...x, field: 'pause' }, x2: { field: 'total' }, color: colour },
        },
        {
          mark: { type: 'point', size: 55, filled: false, strokeWidth: 1.5 },
          encoding: { y, x: { ...x, field: 'total' }, color: colour },
        },
        {
          mark: { type: 'point', size: 55, filled: true, opacity: 1 },
          encoding: { y, x: { ...x, field: 'pause' }, color: colour },
        },
      ],
    },
    config: {
      background: 'transparent',
      font: 'system-ui, sans-serif',
      view: { stroke: grid },
      title: { color: text, subtitleColor: muted, fontSize: 15, subtitleFontSize: 12 },
      axis: {
        labelColor: text,
        titleColor: muted,
        gridColor: grid,
        domainColor: grid,
        tickColor: grid,
        labelFontSize: 12,
        titleFontSize: 12,
        titleFontWeight: 'normal',
        labelLimit: 200,
      },
      header: {
        labelColor: text,
        labelFontSize: 12,
        labelFontWeight: 'bold',
        labelOrient: 'top',
        labelAnchor: 'start',
      },
    },
  };
}

/** An SVG picture of the cases: one function, one handle. */
export async function drawChart(
  results: readonly CaseResult[],
  background: Background,
): Promise<string> {
  const sizes = results.filter(({ functions, handles }) => functions === 1 && handles === 1);
  const { spec } = compile(specification(pointsOf(sizes), background));
  return new View(parse(spec), { renderer: 'none' }).toSVG();
}
