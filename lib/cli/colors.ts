// Colours on a terminal. Pipes and files get plain text, and so do terminals with NO_COLOR (no-color.org) or TERM=dumb.
const { NO_COLOR = '', TERM } = process.env;
const enabled = process.stdout.isTTY === true && NO_COLOR === '' && TERM !== 'dumb';

function color(open: number, close: number): (text: string) => string {
  return enabled ? (text) => `\x1b[${open}m${text}\x1b[${close}m` : (text) => text;
}

export const bold = color(1, 22);
export const dim = color(2, 22);
export const red = color(31, 39);
export const green = color(32, 39);
export const yellow = color(33, 39);
