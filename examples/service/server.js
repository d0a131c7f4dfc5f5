// A service that prices things with a native library, and takes a new build of it without a restart.
//
//   node server.js LIBRARY [PORT]
//
// SIGHUP swaps the library, SIGTERM and SIGINT end the service. It logs one JSON object in each line.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { SoHandle } from 'soswap';

const [library = './libpricing.so', port = '0'] = process.argv.slice(2);

const pricing = SoHandle.open(library, {
  quote: { arguments: ['float64', 'uint32'], return: 'float64' },
  // Slow, and therefore on another thread: the service goes on meanwhile.
  simulate: { arguments: ['float64', 'uint32'], return: 'float64', nonblocking: true },
});
const { quote, simulate } = pricing.functions; // they follow every swap

const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
  const base = Number(searchParams.get('base'));
  const count = Number(searchParams.get('count'));
  const answer = (/** @type {number} */ status, /** @type {object} */ body) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  };
  try {
    if (pathname === '/quote') answer(200, { price: quote(base, count) });
    else if (pathname === '/simulate') answer(200, { price: await simulate(base, count) });
    else answer(404, { error: `there is no ${pathname}` });
  } catch (error) {
    // A TypeError is a wrong argument: the signature is checked at each call.
    answer(error instanceof TypeError ? 400 : 500, { error: String(error) });
  }
});

process.on('SIGHUP', async () => {
  try {
    const report = await pricing.swap({ verify: givesSensiblePrices });
    const { generation, pauseMicroseconds, totalMicroseconds, unmapped } = report;
    log('swapped', { generation, pauseMicroseconds, totalMicroseconds, unmapped });
  } catch (error) {
    // The new build is refused: the one that runs goes on.
    log('refused', { reason: String(error) });
  }
});

/** Calls the new build before anything depends on it. */
function givesSensiblePrices(/** @type {typeof pricing.functions} */ candidate) {
  const price = candidate.quote(100, 2);
  if (!(price > 0 && price <= 200)) throw new Error(`quote(100, 2) gives ${price}`);
}

async function stop() {
  server.close(); // takes no more connections, answers what was asked
  await once(server, 'close');
  pricing.close();
}
process.once('SIGTERM', stop).once('SIGINT', stop);
// If another program has started it, it ends with that.
process.once('disconnect', stop);
process.channel?.unref();

server.listen(Number(port), '127.0.0.1', () => {
  const address = server.address();
  if (typeof address === 'object') log('listening', { port: address?.port, pid: process.pid });
});

function log(/** @type {string} */ event, /** @type {object} */ facts) {
  console.log(JSON.stringify({ event, ...facts }));
}
