/** JSON of one line, or indented by `indent`; 64-bit integers become strings of decimal digits. */
export function toJson(value: unknown, indent = 0): string {
  const digits = (_: string, each: unknown) => (typeof each === 'bigint' ? String(each) : each);
  return `${JSON.stringify(value, digits, indent)}\n`;
}
