import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ControlEvent } from './messages.js';

/** Bytes that may wait for a client that does not read. */
const mostWaiting = 1024 * 1024;
/** Milliseconds between two lines that keep a connection open. */
const heartbeat = 15_000;

/** The clients of `GET /v1/events`: server-sent events. */
export class EventStreams {
  readonly #clients = new Set<ServerResponse>();
  #timer: NodeJS.Timeout | undefined;

  add(request: IncomingMessage, response: ServerResponse): void {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    response.write(': soswap\n\n');
    this.#clients.add(response);
    request.on('close', () => this.#clients.delete(response));
    this.#timer ??= setInterval(() => this.#write(':\n\n'), heartbeat).unref();
  }

  send({ event, ...rest }: ControlEvent): void {
    if (this.#clients.size > 0) this.#write(`event: ${event}\ndata: ${JSON.stringify(rest)}\n\n`);
  }

  end(): void {
    clearInterval(this.#timer);
    for (const client of this.#clients) client.end();
    this.#clients.clear();
  }

  #write(text: string): void {
    for (const client of this.#clients) {
      if (client.writableLength > mostWaiting) client.destroy();
      else client.write(text);
    }
  }
}
