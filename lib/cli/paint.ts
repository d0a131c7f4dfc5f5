// Colours for a person at a terminal; nothing but text for a pipe, a file, or NO_COLOR (no-color.org).
const { NO_COLOR = '', TERM } = process.env;
const enabled = process.stdout.isTTY === true && NO_COLOR === '' && TERM !== 'dumb';

function painter(open: number, close: number): (text: string) => string {
  return enabled ? (text) => `\x1b[${open}m${text}\x1b[${close}m` : (text) => text;
}

export const bold = painter(1, 22);
export const dim = painter(2, 22);
export const red = painter(31, 39);
export const green = painter(32, 39);
export const yellow = painter(33, 39);
