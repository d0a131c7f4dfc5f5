import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';
import { cannotCompile } from '../fixtures/retain.js';

const source = 'retain/runtime.go';

t.test('Go: its runtime never goes', { skip: cannotCompile({ name: 'Go', source }) }, async (t) => {
  const cwd = t.testdir();
  for (const line of [1111, 2222]) {
    compile(source, `${cwd}/so${line}.so`, '-ldflags', `-X main.line=${line}`);
  }

  for (const [unload, code, generations, order] of [
    ['auto', 'may-run-threads', 10, 'close-first'],
    ['always', 'nodelete', 3, 'open-first'],
    ['never', 'kept', 3, 'close-first'],
  ] as const) {
    t.test(`unload: '${unload}': ${generations} generations run side by side`, async (t) => {
      const program = `
        import { copyFileSync } from 'node:fs';
        import { SoHandle } from 'soswap';
        import * as dl from 'soswap/dl';
        const definitions = {
          count: { return: 'int32' },
          version: { return: 'string' },
          work: { arguments: ['int32'], return: 'int32', nonblocking: true },
        };
        const path = '${t.testdir()}/so.so';
        copyFileSync('so1111.so', path);
        const so = SoHandle.open(path, definitions, { unload: '${unload}' });
        const { count, version, work } = so.functions;
        const counts = [];
        const wrong = [];
        const codes = new Set();
        for (let generation = 1; generation <= ${generations}; generation++) {
          if (generation > 1) {
            copyFileSync(generation % 2 === 0 ? 'so2222.so' : 'so1111.so', path);
            const { retained } = await so.swap({ order: '${order}' });
            codes.add(retained.map(({ code }) => code).join());
          }
          const expected = generation % 2 === 0 ? 'build 2222' : 'build 1111';
          const sums = await Promise.all([work(8), work(8), work(8)]);
          if (version() !== expected || count() !== 1 || sums.some((sum) => sum !== 28)) {
            wrong.push([generation, version(), sums]);
          }
          counts.push(dl.functionAt(so.getSymbol('count'), definitions.count));
        }
        process.send({ wrong, codes: [...codes], counts: counts.map((count) => count()) });
        so.close();
      `;
      const ended = await runProgram(program, { cwd });
      t.match(ended, exitedCleanly);
      t.same(ended.messages, [{ wrong: [], codes: [code], counts: Array(generations).fill(2) }]);
    });
  }
});
