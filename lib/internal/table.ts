import width from 'fast-string-width';

const gap = '  ';

/** Formats a head, a rule and rows in columns as wide as their widest cell. Cells may contain colour sequences. */
export function tableLines(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): [head: string, rule: string, ...rows: string[]] {
  const widths = head.map((title, column) =>
    Math.max(...[title, ...rows.map((row) => row[column] ?? '')].map((cell) => width(cell))),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => pad(cell, widths[column] ?? 0))
      .join(gap)
      .trimEnd();
  const rule = widths.map((size) => '─'.repeat(size)).join(gap);
  return [line(head), rule, ...rows.map(line)];
}

/** Pads text with spaces to a width of `size` columns. Colour sequences have no width. */
export function pad(text: string, size: number): string {
  return text + ' '.repeat(Math.max(0, size - width(text)));
}
