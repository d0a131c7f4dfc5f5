import { stripVTControlCharacters } from './node-util.js';

const gap = '  ';

/** Columns as wide as their widest cell: the head, a rule, and a line for each row. Cells may be painted. */
export function tableLines(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): [head: string, rule: string, ...rows: string[]] {
  const widths = head.map((title, column) =>
    Math.max(...[title, ...rows.map((row) => row[column] ?? '')].map(width)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => pad(cell, widths[column] ?? 0))
      .join(gap)
      .trimEnd();
  const rule = widths.map((size) => '─'.repeat(size)).join(gap);
  return [line(head), rule, ...rows.map(line)];
}

/** `text` with spaces up to `size` columns; colours take none. */
export function pad(text: string, size: number): string {
  return text + ' '.repeat(Math.max(0, size - width(text)));
}

function width(text: string): number {
  return stripVTControlCharacters(text).length;
}
