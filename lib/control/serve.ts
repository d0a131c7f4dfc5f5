import { chmodSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { loaded } from '../facts/loaded.js';
import type { SoHandle } from '../handle/so-handle.js';
import { SoError } from '../internal/errors.js';
import { native } from '../native/addon.js';
import { Counts } from './counts.js';
import { Deployments, type StepOutcome, silent } from './deployments.js';
import { EventStreams } from './event-streams.js';
import type { ControlError, HandleFacts } from './messages.js';
import { metricsText } from './metrics.js';
import { RequestError, readBody, readRequest, readStep } from './requests.js';
import {
  assertShort,
  ownDirectory,
  removeStale,
  socketName,
  socketsIn,
  usualDirectory,
} from './socket-path.js';
import { errorOf } from './thread.js';
import { Threads } from './threads.js';

/** What a control socket is served with. Checked. */
export interface ServePlan {
  readonly path: string | undefined;
  readonly name: string;
  readonly handles: (() => Iterable<SoHandle>) | undefined;
  readonly health: (() => unknown) | undefined;
}

/** Milliseconds that a thread may take to tell what it has. */
const describeTimeout = 5000;

/** The control socket of this process. */
export class ControlServer {
  readonly #plan: ServePlan;
  readonly #threads: Threads;
  readonly #deployments: Deployments;
  readonly #streams = new EventStreams();
  readonly #counts = new Counts();
  readonly #server: Server;
  #path = '';

  constructor(plan: ServePlan) {
    this.#plan = plan;
    this.#threads = new Threads(plan.handles, (event) => {
      this.#counts.add(event);
      this.#streams.send(event);
    });
    this.#deployments = new Deployments(this.#threads);
    this.#server = createServer(
      {
        headersTimeout: 5000,
        requestTimeout: 10_000,
        keepAliveTimeout: 5000,
        connectionsCheckingInterval: 1000,
      },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.maxConnections = 2000;
    this.#server.on('connection', admit);
    this.#server.on('clientError', (_error, socket) => {
      if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
    });
  }

  get path(): string {
    return this.#path;
  }

  /** Listens. Rejects with `ERR_SOSWAP_CONTROL`. */
  async listen(): Promise<void> {
    try {
      this.#path = await this.#place();
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        // exclusive: a process of node:cluster has a socket of its own.
        this.#server.listen({ path: this.#path, exclusive: true, backlog: 1024 }, resolve);
      });
    } catch (cause) {
      this.#threads.end();
      if (cause instanceof SoError) throw cause;
      const message = `cannot serve the control socket '${this.#path}': ${(cause as Error).message}`;
      throw new SoError('ERR_SOSWAP_CONTROL', message, this.#path, undefined, { cause });
    }
    chmodSync(this.#path, 0o600);
    this.#server.unref();
    process.on('exit', this.#unlink);
  }

  async #place(): Promise<string> {
    const { path, name } = this.#plan;
    const place = path ?? join(usualDirectory(), socketName(name));
    assertShort(place);
    if (path === undefined) {
      const others = socketsIn(dirname(place));
      await Promise.all(others.map(removeStale));
    } else if (dirname(path) !== '.') {
      ownDirectory(dirname(path));
    }
    if (await removeStale(place)) return place;
    const message = `cannot serve the control socket '${place}': another process serves it, or it is no socket of this user`;
    throw new SoError('ERR_SOSWAP_CONTROL', message, place);
  }

  async close(): Promise<void> {
    process.off('exit', this.#unlink);
    this.#streams.end();
    await this.#deployments.end();
    this.#threads.end();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#unlink(); // at once: another process may have the path as soon as nobody listens
    this.#server.closeAllConnections();
    await closed;
  }

  readonly #unlink = (): void => {
    try {
      unlinkSync(this.#path);
    } catch {
      // It has gone with its directory.
    }
  };

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const { pathname } = new URL(request.url ?? '/', 'http://localhost');
      const route = routes[`${request.method} ${pathname}`];
      if (route === undefined) {
        throw new RequestError(404, `there is no ${request.method} ${pathname}`);
      }
      await route(this, request, response);
    } catch (error) {
      const { status = statusOf(errorOf(error)) } = error as Partial<RequestError>;
      send(response, status, { error: errorOf(error) }, status === 413 || status === 408);
    }
  }

  async handles(_request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answers = await this.#threads.ask({ action: 'handles', reads: true }, describeTimeout);
    const handles = answers.flatMap(({ answer }) => answer?.handles ?? []);
    const error = silent(answers, describeTimeout);
    const { name } = this.#plan;
    const { waiting } = this.#deployments;
    send(response, 200, { pid: process.pid, name, waiting, handles, ...(error && { error }) });
  }

  async health(_request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answers = await this.#threads.ask({ action: 'handles', reads: false }, describeTimeout);
    const handles = answers.flatMap(({ answer }) => answer?.handles ?? []);
    const reasons = handles
      .filter(({ status }) => status === 'not-loaded')
      .map(({ path }) => `'${path}' has no image`);
    const error = silent(answers, describeTimeout);
    if (error !== undefined) reasons.push(error.message);
    try {
      const verdict = await this.#plan.health?.();
      if (verdict === false) reasons.push('the program says so');
      else if (typeof verdict === 'string') reasons.push(verdict);
    } catch (thrown) {
      reasons.push(errorOf(thrown).message);
    }
    const healthy = reasons.length === 0;
    send(response, healthy ? 200 : 503, { healthy, reasons });
  }

  async metrics(_request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answers = await this.#threads.ask({ action: 'handles', reads: false }, describeTimeout);
    const handles: HandleFacts[] = answers.flatMap(({ answer }) => answer?.handles ?? []);
    response.setHeader('Content-Type', 'text/plain; version=0.0.4; charset=utf-8');
    response.end(metricsText(handles, this.#counts.all, loaded()));
  }

  events(request: IncomingMessage, response: ServerResponse): void {
    this.#streams.add(request, response);
  }

  deployment(request: IncomingMessage, response: ServerResponse): void {
    const name = new URL(request.url ?? '/', 'http://localhost').searchParams.get('name') ?? '';
    send(response, 200, { state: this.#deployments.stateOf(name) });
  }

  async prepare(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const outcome = await this.#deployments.prepare(readRequest(await readBody(request)));
    // Whoever asked has gone: nobody will commit it.
    if (response.destroyed && outcome.id !== undefined) await this.#deployments.discard(outcome.id);
    reply(response, outcome);
  }

  async swap(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const prepared = await this.#deployments.prepare(readRequest(await readBody(request)));
    if (prepared.id === undefined) return reply(response, prepared);
    const { handles } = prepared;
    const final = { id: prepared.id, lease: undefined, deployment: undefined, peers: [] };
    const committed = await this.#deployments.commit(final);
    const current = handles.filter(({ outcome }) => outcome === 'current');
    reply(response, { ...committed, handles: [...committed.handles, ...current] });
  }

  async commit(request: IncomingMessage, response: ServerResponse): Promise<void> {
    reply(response, await this.#deployments.commit(readStep(await readBody(request))));
  }

  async confirm(request: IncomingMessage, response: ServerResponse): Promise<void> {
    reply(response, await this.#deployments.confirm(readStep(await readBody(request)).id));
  }

  async discard(request: IncomingMessage, response: ServerResponse): Promise<void> {
    reply(response, await this.#deployments.discard(readStep(await readBody(request)).id));
  }

  async rollback(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { path, options, timeout } = readRequest(await readBody(request));
    reply(response, await this.#deployments.rollback(path, options, timeout));
  }
}

type Route = (
  server: ControlServer,
  request: IncomingMessage,
  response: ServerResponse,
) => void | Promise<void>;

const routes: Readonly<Record<string, Route>> = {
  __proto__: null as never,
  'GET /v1/handles': (server, ...both) => server.handles(...both),
  'GET /v1/loaded': (_server, _request, response) => send(response, 200, { images: loaded() }),
  'GET /v1/health': (server, ...both) => server.health(...both),
  'GET /v1/deployment': (server, ...both) => server.deployment(...both),
  'GET /v1/events': (server, ...both) => server.events(...both),
  'GET /metrics': (server, ...both) => server.metrics(...both),
  'POST /v1/prepare': (server, ...both) => server.prepare(...both),
  'POST /v1/commit': (server, ...both) => server.commit(...both),
  'POST /v1/confirm': (server, ...both) => server.confirm(...both),
  'POST /v1/discard': (server, ...both) => server.discard(...both),
  'POST /v1/swap': (server, ...both) => server.swap(...both),
  'POST /v1/rollback': (server, ...both) => server.rollback(...both),
};

/** Lets in root and the user of this process. The mode of the socket keeps others out where the runtime tells no descriptor. */
function admit(socket: Socket): void {
  socket.unref();
  socket.on('error', () => {}); // the client has gone
  const { fd } = (socket as Socket & { _handle?: { fd?: number } })._handle ?? {};
  if (fd === undefined || fd < 0) return;
  const user = native.peerUser(fd);
  if (user !== 0 && user !== process.geteuid?.()) socket.destroy();
}

function reply(response: ServerResponse, outcome: StepOutcome): void {
  const { error } = outcome;
  send(response, error === undefined ? 200 : statusOf(error), outcome);
}

function statusOf({ code }: Partial<ControlError>): number {
  if (code === 'ERR_SOSWAP_NOT_FOUND') return 404;
  return code?.startsWith('ERR_INVALID_') || code === 'ERR_OUT_OF_RANGE' ? 400 : 409;
}

/** @param closes The rest of the request is not read. */
function send(response: ServerResponse, status: number, body: object, closes = false): void {
  if (response.headersSent || response.destroyed) return;
  if (closes) response.setHeader('Connection', 'close');
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(`${JSON.stringify(body)}\n`);
}
