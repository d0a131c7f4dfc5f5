import { openHandles, turnsOf } from './registry.js';

/** Ends the life of each image that has one: the addon is not asked at process.exit(). */
function endLives(): void {
  for (const handle of [...openHandles()].reverse()) turnsOf(handle)?.target.endLife();
}

/** Has the hooks soswap_unload run at the end of this thread, after the listeners of `exit` that there are by now. */
export function endLivesAtExit(): void {
  process.off('exit', endLives);
  process.on('exit', endLives);
}
