import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { BroadcastChannel } from 'node:worker_threads';
import type { SoHandle } from '../handle/so-handle.js';
import { native } from '../native/addon.js';
import type { ControlEvent, ThreadAnswers, ThreadRequest } from './messages.js';
import { ThreadControl } from './thread.js';

/** What the threads of this process tell each other. Another process hears nothing of it. */
const channelName = 'soswap:control';

type Message =
  | { readonly kind: 'hello' | 'bye' | 'look'; readonly thread: number }
  | { readonly kind: 'event'; readonly thread: number; readonly event: ControlEvent }
  | {
      readonly kind: 'ask';
      readonly thread: number;
      readonly id: number;
      readonly request: ThreadRequest;
    }
  | {
      readonly kind: 'answer';
      readonly thread: number;
      readonly id: number;
      readonly answer: Partial<ThreadAnswers>;
    };

/** What one thread answered. */
export interface ThreadAnswer {
  readonly thread: number;
  /** `undefined`: it did not answer in time. */
  readonly answer: Partial<ThreadAnswers> | undefined;
}

/** What a thread was asked. */
interface Question {
  readonly thread: number;
  readonly resolve: (answer: Partial<ThreadAnswers> | 'ended') => void;
}

/** All threads of the process, seen from the main thread: it asks itself and those that have joined. */
export class Threads {
  readonly #own: ThreadControl;
  readonly #thread = native.threadId();
  readonly #channel = new BroadcastChannel(channelName);
  readonly #joined = new Set<number>();
  readonly #waiting = new Map<number, Question>();
  #lastId = 0;

  constructor(
    handles: (() => Iterable<SoHandle>) | undefined,
    tell: (event: ControlEvent) => void,
  ) {
    this.#own = new ThreadControl(handles, tell);
    this.#channel.onmessage = (received) => {
      const message = (received as MessageEvent).data as Message;
      if (message.kind === 'hello') this.#joined.add(message.thread);
      else if (message.kind === 'bye') this.#leave(message.thread);
      else if (message.kind === 'event') tell(message.event);
      else if (message.kind === 'answer') this.#waiting.get(message.id)?.resolve(message.answer);
    };
    unref(this.#channel);
    this.#post({ kind: 'look', thread: this.#thread }); // those that joined before say hello again
  }

  /**
   * Asks all threads. One that ends meanwhile is left out: its handles are gone.
   *
   * @param timeout Milliseconds that each may take.
   */
  async ask(request: ThreadRequest, timeout: number): Promise<ThreadAnswer[]> {
    const others = [...this.#joined].map((thread) => this.#askOther(thread, request, timeout));
    const own = this.#own.answer(request).then((answer) => ({ thread: this.#thread, answer }));
    const all = await Promise.all<ThreadAnswer | undefined>([own, ...others]);
    return all.filter((each) => each !== undefined);
  }

  async #askOther(
    thread: number,
    request: ThreadRequest,
    timeout: number,
  ): Promise<ThreadAnswer | undefined> {
    const id = ++this.#lastId;
    const over = new AbortController();
    const answered = new Promise<Partial<ThreadAnswers> | 'ended'>((resolve) => {
      this.#waiting.set(id, { thread, resolve });
    });
    this.#post({ kind: 'ask', thread, id, request });
    try {
      const gone = this.#end(thread, timeout, over.signal);
      const first = await Promise.race([answered, gone]);
      if (first === 'ended') {
        this.#joined.delete(thread);
        return undefined;
      }
      return { thread, answer: first === 'expired' ? undefined : first };
    } finally {
      over.abort();
      this.#waiting.delete(id);
    }
  }

  /** Resolves when the thread has ended, or the time is over. The end of a thread that was terminated is told by nobody. */
  async #end(thread: number, timeout: number, signal: AbortSignal): Promise<'ended' | 'expired'> {
    const deadline = performance.now() + timeout;
    while (performance.now() < deadline && !signal.aborted) {
      if (!existsSync(`/proc/self/task/${thread}`)) return 'ended';
      await sleep(20, undefined, { signal }).catch(() => {});
    }
    return 'expired';
  }

  /** A thread takes part no more, whatever it was asked. */
  #leave(thread: number): void {
    this.#joined.delete(thread);
    for (const each of this.#waiting.values()) if (each.thread === thread) each.resolve('ended');
  }

  end(): void {
    this.#own.end();
    this.#channel.close();
  }

  #post(message: Message): void {
    this.#channel.postMessage(message);
  }
}

/** A worker thread that answers for its handles. */
export class Joined {
  readonly #thread = native.threadId();
  readonly #channel = new BroadcastChannel(channelName);
  readonly #own: ThreadControl;

  constructor(handles: (() => Iterable<SoHandle>) | undefined) {
    this.#own = new ThreadControl(handles, (event) => {
      this.#post({ kind: 'event', thread: this.#thread, event });
    });
    this.#channel.onmessage = (received) => {
      const message = (received as MessageEvent).data as Message;
      if (message.kind === 'look') this.#post({ kind: 'hello', thread: this.#thread });
      if (message.kind !== 'ask' || message.thread !== this.#thread) return;
      const { id, request } = message;
      void this.#own.answer(request).then((answer) => {
        this.#post({ kind: 'answer', thread: this.#thread, id, answer });
      });
    };
    unref(this.#channel);
    this.#post({ kind: 'hello', thread: this.#thread });
  }

  end(): void {
    this.#own.end();
    this.#post({ kind: 'bye', thread: this.#thread });
    this.#channel.close();
  }

  #post(message: Message): void {
    try {
      this.#channel.postMessage(message);
    } catch {
      // It is closed: an answer came late.
    }
  }
}

function unref(channel: BroadcastChannel): void {
  (channel as BroadcastChannel & { unref?(): void }).unref?.(); // deno has none
}
