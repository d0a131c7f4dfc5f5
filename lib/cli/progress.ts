/**
 * Says on the terminal of the standard error what takes long, until it is disposed of.
 *
 * @param delay Milliseconds before it does; 0 if this thread is about to be busy.
 */
export function progress(text: string, delay: number): Disposable {
  const { stderr } = process;
  let shown = false;
  const show = () => {
    if (!stderr.isTTY) return;
    stderr.write(`${text} …`);
    shown = true;
  };
  if (delay === 0) show();
  const timer = delay === 0 ? undefined : setTimeout(show, delay);
  return {
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      if (shown) stderr.write('\r\x1b[K');
    },
  };
}
