import { tableLines } from '../internal/table.js';
import { bold, dim } from './colors.js';

/** Formats a table with a bold head and a dim rule. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const [titles, rule, ...lines] = tableLines(head, rows);
  return [bold(titles), dim(rule), ...lines].map((line) => `${line}\n`).join('');
}

/** Formats microseconds: `1,234 µs`. */
export function microseconds(value: number): string {
  return `${Math.round(value).toLocaleString('en')} µs`;
}
