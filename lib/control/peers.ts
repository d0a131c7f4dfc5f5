import { request } from 'node:http';

/** Milliseconds that a peer may take to answer. */
const patience = 2000;

/** Whether one of these processes knows that the deployment was confirmed. */
export async function hasPeer(sockets: readonly string[], deployment: string): Promise<boolean> {
  const states = await Promise.all(sockets.map((socket) => stateAt(socket, deployment)));
  return states.includes('confirmed');
}

/** What the process at a socket knows of it; `undefined`: it does not answer. */
function stateAt(socketPath: string, deployment: string): Promise<string | undefined> {
  const path = `/v1/deployment?name=${encodeURIComponent(deployment)}`;
  return new Promise((resolve) => {
    const asked = request({ socketPath, path, agent: false, timeout: patience }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (more) => {
        text += more;
      });
      response.on('end', () => {
        try {
          resolve(JSON.parse(text).state);
        } catch {
          resolve(undefined);
        }
      });
    });
    asked.on('timeout', () => asked.destroy());
    asked.on('error', () => resolve(undefined));
    asked.on('close', () => resolve(undefined));
    asked.end();
  });
}
