import { tableLines } from '../internal/table.js';
import { bold, dim } from './paint.js';

export { pad } from '../internal/table.js';

/** A table with its head and rule painted. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const [titles, rule, ...lines] = tableLines(head, rows);
  return [bold(titles), dim(rule), ...lines].map((line) => `${line}\n`).join('');
}

/** `1,234 µs` */
export function microseconds(value: number): string {
  return `${Math.round(value).toLocaleString('en')} µs`;
}
