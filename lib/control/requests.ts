import type { IncomingMessage } from 'node:http';
import { SoError } from '../internal/errors.js';
import { defaultTimeout } from '../internal/options.js';
import { checkSwapOptions } from '../swap/plan.js';
import type { CommitRequest, PrepareRequest } from './deployments.js';
import type { RemoteSwapOptions } from './messages.js';

/** The bytes that a body may have. */
const largestBody = 64 * 1024;
/** Milliseconds that it may take to come. */
const slowestBody = 5000;
/** Milliseconds for which a prepared swap waits for its commit, unless the request says otherwise. */
const usualLease = 30_000;
const longestLease = 3_600_000;

/** A request that is refused. */
export class RequestError extends SoError {
  readonly status: number;

  constructor(status: number, why: string) {
    super('ERR_SOSWAP_CONTROL', why, '');
    this.status = status;
  }
}

/** Reads a JSON object. */
export async function readBody(
  request: IncomingMessage,
): Promise<Readonly<Record<string, unknown>>> {
  const chunks: Buffer[] = [];
  let size = 0;
  const timer = setTimeout(() => {
    request.destroy(new RequestError(408, `the body took longer than ${slowestBody} ms`));
  }, slowestBody).unref();
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > largestBody) {
        throw new RequestError(413, `the body has more than ${largestBody} bytes`);
      }
      chunks.push(chunk);
    }
  } finally {
    clearTimeout(timer);
  }
  let body: unknown;
  try {
    body = JSON.parse(Buffer.concat(chunks).toString() || '{}');
  } catch (error) {
    throw new RequestError(400, `the body is no JSON: ${(error as Error).message}`);
  }
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) {
    return body as Record<string, unknown>;
  }
  throw new RequestError(400, 'the body must be a JSON object');
}

const keys = ['path', 'force', 'lease', 'order', 'timeout', 'quarantine', 'unload'];

/** Checks what names a prepared swap, with the lease of its commit. */
export function readStep({
  id,
  lease,
  deployment,
  peers = [],
  ...rest
}: Readonly<Record<string, unknown>>): CommitRequest {
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) throw new RequestError(400, `there is no option '${unknown}'`);
  if (typeof id !== 'string') {
    throw new RequestError(400, 'the body needs the id of a prepared swap');
  }
  if (deployment !== undefined && typeof deployment !== 'string') {
    throw new RequestError(400, 'deployment must be a string');
  }
  if (!Array.isArray(peers) || !peers.every((each) => typeof each === 'string')) {
    throw new RequestError(400, 'peers must be an array of the paths of sockets');
  }
  return { id, lease: lease === undefined ? undefined : leaseOf(lease), deployment, peers };
}

function leaseOf(lease: unknown): number {
  if (typeof lease === 'number' && lease >= 0 && lease <= longestLease) return lease;
  throw new RequestError(400, `lease must be milliseconds from 0 to ${longestLease}`);
}

/** Checks what a swap or a rollback is asked for with. */
export function readRequest(body: Readonly<Record<string, unknown>>): PrepareRequest {
  const unknown = Object.keys(body).find((key) => !keys.includes(key));
  if (unknown !== undefined) {
    throw new RequestError(400, `there is no option '${unknown}'; there are ${keys.join(', ')}`);
  }
  const { path, force = false, lease = usualLease, ...rest } = body;
  if (typeof path !== 'string' || path === '') {
    throw new RequestError(400, 'the body needs the path of a library');
  }
  if (typeof force !== 'boolean') throw new RequestError(400, 'force must be true or false');
  const options = checkSwapOptions('body', rest) as RemoteSwapOptions;
  const { timeout = defaultTimeout } = options;
  return { path, force, lease: leaseOf(lease), options, timeout: timeout + 2 * defaultTimeout };
}
