import { styleText } from 'node:util';
import { tableLines } from '../internal/table.js';

/** Formats a table with a bold head and a dim rule. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const [titles, rule, ...lines] = tableLines(head, rows);
  return [styleText('bold', titles), styleText('dim', rule), ...lines]
    .map((line) => `${line}\n`)
    .join('');
}

/** Formats microseconds: `1,234 µs`. */
export function microseconds(value: number): string {
  return `${Math.round(value).toLocaleString('en')} µs`;
}
