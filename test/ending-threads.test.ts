import { join } from 'node:path';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, importUntil, runProgram } from '../fixtures/child.js';

// Threads that outlive swaps, in a process of their own. test/campaigns/threads.js runs a thousand swaps.

const directory = t.testdir();
const library = compile('retain/ending.c', join(directory, 'ending.so'), '-O2');

const program = (body: string) => `
  import { readFileSync } from 'node:fs';
  import { loaded, SoHandle } from 'soswap';
  ${importUntil}
  const counts = new Int32Array(new SharedArrayBuffer(12));
  const so = SoHandle.open('${library}', {
    start: { arguments: ['buffer', 'int32', 'int32'], return: 'int32' },
  });
  const start = (number, most) => {
    if (so.functions.start(counts, number, most) !== 0) throw new Error('no thread');
  };
  const mappings = () => readFileSync('/proc/self/maps', 'utf8').match(/memfd:ending/g).length;
  ${body}
`;

t.test('a thread that never ends keeps exactly one image', async (t) => {
  const body = `
    start(1, -1);
    const swap = (round) =>
      round % 3 === 0 ? so.swapSync() : so.swap({ order: round % 3 === 1 ? 'close-first' : 'open-first' });
    const { unmapped, retained } = await swap(0);
    for (const round of [1, 2]) await swap(round); // so that the next copies have memory to reuse
    const before = mappings();
    const seen = new Set();
    for (let round = 3; round <= 60; round++) {
      if (!(await swap(round)).unmapped) throw new Error('swap ' + round);
      seen.add(loaded().map(({ state, generation }) => state === 'live' ? state : generation).join());
    }
    process.send([unmapped, retained, [...seen], mappings() - before]);
    so.close();
    process.send([loaded().map(({ generation, retained: [{ code }] }) => [generation, code]), counts[1]]);
    process.exit();
  `;
  const reason = { code: 'running-threads', detail: /^1 thread/ };
  t.match(await runProgram(program(body), { cwd: directory }), {
    ...exitedCleanly,
    messages: [
      [false, [reason], ['1,live'], 0],
      [[[1, 'running-threads']], 0],
    ],
  });
});

t.test('16 threads that end at random keep their images, and no longer', async (t) => {
  const body = `
    let most = 0;
    for (let round = 0; round < 100; round++) {
      start(16 - (counts[0] - counts[1]), 200);
      if (round % 4 === 0) so.swapSync();
      else await so.swap({ order: round % 2 === 0 ? 'close-first' : 'open-first' });
      most = Math.max(most, loaded().length);
    }
    await until('all images but one are gone', () => loaded().length === 1);
    process.send([most > 1, counts[0] === counts[1], counts[2], mappings()]);
    so.close();
    process.send(loaded().length);
  `;
  const { messages, ...ended } = await runProgram(program(body), { cwd: directory });
  t.match(ended, exitedCleanly);
  const [[several, allEnded, strange, segments], left] = messages as [unknown[], number];
  t.same([several, allEnded, strange, left], [true, true, 0, 0]);
  t.ok(Number(segments) < 20, `${segments} mappings of one image`);
});
