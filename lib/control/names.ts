/** Whether a library that somebody names is that of a path: a name without a slash means every library of that name. */
export function means(named: string, path: string): boolean {
  return path === named || (!named.includes('/') && path.endsWith(`/${named}`));
}
