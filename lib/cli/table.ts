import { stripVTControlCharacters } from 'node:util';
import { bold, dim } from './paint.js';

const gap = '  ';

/** Columns as wide as their widest cell, under a head and a rule. Cells may be painted. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(...[title, ...rows.map((row) => row[column] ?? '')].map(width)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => pad(cell, widths[column] ?? 0))
      .join(gap)
      .trimEnd();
  const rule = dim(widths.map((size) => '─'.repeat(size)).join(gap));
  return [bold(line(head)), rule, ...rows.map(line)].map((text) => `${text}\n`).join('');
}

/** `text` with spaces up to `size` columns; colours take none. */
export function pad(text: string, size: number): string {
  return text + ' '.repeat(Math.max(0, size - width(text)));
}

/** `1,234 µs` */
export function microseconds(value: number): string {
  return `${Math.round(value).toLocaleString('en')} µs`;
}

function width(text: string): number {
  return stripVTControlCharacters(text).length;
}
