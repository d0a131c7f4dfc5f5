// A service of several processes: node:cluster forks them, they share a port, and each has its own copy of the library. Each
// serves a control socket, by which `soswap deploy` reaches all of them.
//
//   node service.js LIBRARY [PROCESSES]

import cluster from 'node:cluster';
import { createServer } from 'node:http';
import { SoHandle } from 'soswap';
import { serveControl } from 'soswap/control';

const [library = '', processes = '4'] = process.argv.slice(2);

if (cluster.isPrimary) {
  cluster.on('exit', (worker, code, signal) => {
    if (worker.exitedAfterDisconnect) return;
    console.error(`process ${worker.process.pid} ended with ${signal ?? code}`);
    cluster.fork();
  });
  for (let count = 0; count < Number(processes); count++) cluster.fork();
  let ready = 0;
  cluster.on('message', (_worker, message) => {
    if (++ready === Number(processes)) console.log(JSON.stringify(message)); // all listen
  });
  process.stdin.on('end', () => cluster.disconnect(() => process.exit())).resume();
} else {
  const pricing = SoHandle.open(library, {
    build: { return: 'int32' },
    quote: { arguments: ['float64', 'uint32'], return: 'float64' },
  });
  const { build, quote } = pricing.functions;
  const server = createServer((_request, response) => {
    response.end(JSON.stringify({ pid: process.pid, build: build(), total: quote(10, 3) }));
  });
  await serveControl({ name: 'pricing', health: () => quote(10, 3) === 30 });
  server.listen(0, '127.0.0.1', () => process.send?.(server.address()));
}
