import { request } from 'node:http';
import type { StepOutcome } from '../../control/deployments.js';
import type { ControlError, HandleFacts } from '../../control/messages.js';
import { controlDirectories, socketsIn } from '../../control/socket-path.js';

/** A process that serves a control socket. */
export interface ServiceProcess {
  readonly socket: string;
  readonly pid: number;
  readonly name: string;
  readonly handles: readonly HandleFacts[];
  /** It did not say what it has. */
  readonly isSilent: boolean;
}

/** The answer of a process; `error`: it refused, or did not answer. */
export type Answer<T> = Partial<T> & { readonly error?: ControlError };

/**
 * Sends one request. Resolves with an error that has the code of the system if no answer comes.
 *
 * @param timeout Milliseconds.
 */
export function send<T = StepOutcome>(
  socketPath: string,
  route: string,
  body: object | undefined,
  timeout: number,
): Promise<Answer<T>> {
  const [method = '', path = ''] = route.split(' ');
  return new Promise((resolve) => {
    const fail = ({ code = 'ERR_SOSWAP_CONTROL', message }: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      resolve({ error: { code, message } } as Answer<T>);
    };
    const asked = request({ socketPath, method, path, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (more) => {
        text += more;
      });
      response.on('error', fail);
      response.on('end', () => {
        clearTimeout(timer);
        try {
          resolve(JSON.parse(text));
        } catch {
          fail(new Error(`it answered ${response.statusCode}, and no JSON`));
        }
      });
    });
    const timer = setTimeout(() => {
      const error: NodeJS.ErrnoException = new Error(`it did not answer within ${timeout} ms`);
      error.code = 'ETIMEDOUT';
      asked.destroy(error);
    }, timeout);
    asked.on('error', fail);
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Which processes are meant. */
export interface Selection {
  readonly name: string | undefined;
  readonly pid: number | undefined;
}

/**
 * Finds the processes of this user that serve a control socket, in the order of their numbers.
 *
 * @param timeout Milliseconds after which a process is silent.
 */
export async function findProcesses(
  { name, pid }: Selection,
  timeout = 5000,
): Promise<ServiceProcess[]> {
  const sockets = [...new Set(controlDirectories().flatMap(socketsIn))];
  const all = await Promise.all(sockets.map((socket) => describe(socket, timeout)));
  return all
    .filter((each) => each !== undefined)
    .filter((each) => name === undefined || each.name === name)
    .filter((each) => pid === undefined || each.pid === pid)
    .sort((one, other) => one.pid - other.pid);
}

/** What serves a socket; `undefined`: nothing. */
export async function describe(
  socket: string,
  timeout = 5000,
): Promise<ServiceProcess | undefined> {
  const answer = await send<ServiceProcess>(socket, 'GET /v1/handles', undefined, timeout);
  const { pid, name, handles, error } = answer;
  if (pid !== undefined && name !== undefined && handles !== undefined) {
    return { socket, pid, name, handles, isSilent: false };
  }
  const [, shown, number] = /([^/]*)-(\d+)\.sock$/.exec(socket) ?? [];
  if (error?.code !== 'ETIMEDOUT' || shown === undefined) return undefined;
  return { socket, pid: Number(number), name: shown, handles: [], isSilent: true };
}
