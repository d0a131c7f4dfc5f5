import type { LoadedImage } from '../facts/loaded.js';
import { bounds, type HandleFacts, type Histogram, type LibraryCounts } from './messages.js';

/** Writes the figures of a process in the text format of Prometheus, version 0.0.4. */
export function metricsText(
  handles: readonly HandleFacts[],
  counts: Readonly<Record<string, LibraryCounts>>,
  images: readonly LoadedImage[],
): string {
  const text = new MetricsText();
  const libraries = Object.entries(counts);
  text.metric('soswap_swaps_total', 'counter', 'Swaps that took effect.');
  for (const [library, { swaps }] of libraries) text.sample({ library }, swaps);
  text.metric('soswap_rollbacks_total', 'counter', 'Those of them that went back.');
  for (const [library, { rollbacks }] of libraries) text.sample({ library }, rollbacks);
  text.metric('soswap_refused_total', 'counter', 'Swaps that were refused, by code.');
  for (const [library, { refused }] of libraries) {
    for (const [code, count] of Object.entries(refused)) text.sample({ library, code }, count);
  }
  text.metric('soswap_pause_seconds', 'histogram', 'How long swaps held the JavaScript thread.');
  for (const [library, { pause }] of libraries) text.histogram({ library }, pause);
  text.metric('soswap_swap_seconds', 'histogram', 'How long swaps took, waiting included.');
  for (const [library, { total }] of libraries) text.histogram({ library }, total);
  text.metric('soswap_generation', 'gauge', 'The generation that a handle runs.');
  for (const [number, { path, thread, buildId, generation }] of handles.entries()) {
    const labels = { library: path, thread: `${thread}`, handle: `${number}` };
    text.sample({ ...labels, build_id: buildId ?? '' }, generation);
  }
  text.metric('soswap_calls_in_flight', 'gauge', 'Calls that have not returned.');
  for (const [number, { path, thread, callsInFlight }] of handles.entries()) {
    text.sample({ library: path, thread: `${thread}`, handle: `${number}` }, callsInFlight);
  }
  const retained = images.filter(({ state }) => state === 'retained');
  const bytes = retained.reduce((sum, each) => sum + each.copySize + each.writtenSize, 0);
  text.metric('soswap_retained_images', 'gauge', 'Old images that are still mapped.');
  text.sample({}, retained.length);
  text.metric('soswap_retained_bytes', 'gauge', 'The memory that they hold.');
  text.sample({}, bytes);
  return text.text;
}

class MetricsText {
  text = '';
  #name = '';

  metric(name: string, type: 'counter' | 'gauge' | 'histogram', help: string): void {
    this.#name = name;
    this.text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
  }

  sample(labels: Readonly<Record<string, string>>, value: number, suffix = ''): void {
    const pairs = Object.entries(labels).map(([name, text]) => `${name}="${escaped(text)}"`);
    const list = pairs.length > 0 ? `{${pairs.join(',')}}` : '';
    this.text += `${this.#name}${suffix}${list} ${value}\n`;
  }

  histogram(labels: Readonly<Record<string, string>>, { buckets, count, sum }: Histogram): void {
    for (const [index, bucket] of buckets.entries()) {
      this.sample({ ...labels, le: `${bounds[index]}` }, bucket, '_bucket');
    }
    this.sample({ ...labels, le: '+Inf' }, count, '_bucket');
    this.sample(labels, sum, '_sum');
    this.sample(labels, count, '_count');
  }
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
