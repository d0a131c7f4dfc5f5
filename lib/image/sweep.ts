import { native } from '../native/addon.js';

/** What counts retained images. */
interface Counting {
  readonly size: number;
  forgetUnmapped(): void;
}

/** How often retained images are tried again when nothing else says that they can go, in milliseconds. */
const interval = 1000;

const counting = new Set<Counting>();
let timer: NodeJS.Timeout | undefined;
/** Images that wait for their threads. */
let waiting = 0;
let listens = false;

/** Unmaps the waiting images, of this thread and of threads that have ended, of which no code can run any more. */
export function sweep(): void {
  waiting = native.sweep();
  if (counting.size === 0) return;
  for (const images of counting) {
    images.forgetUnmapped();
    if (images.size === 0) counting.delete(images);
  }
  if (counting.size > 0) return;
  clearInterval(timer);
  timer = undefined;
}

/** Sweeps, as long as `images` counts any: when a thread has let an image go, and now and then. Holds no process alive. */
export function sweepWhile(images: Counting): void {
  counting.add(images);
  timer ??= setInterval(() => {
    sweep();
    if (waiting > 0) for (let visit = 0; visit < 8; visit++) native.visitPool();
  }, interval).unref();
  if (!listens) native.onUnused(sweep);
  listens = true;
}
