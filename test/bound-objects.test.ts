import t from 'tap';
import { compile, compileAction } from '../fixtures/build.js';
import { exitedCleanly, importUntil, runProgram } from '../fixtures/child.js';

// Objects that were loaded since, and that are bound to symbols of an image which every object can find.

const directory = t.testdir();
const library = compileAction(`${directory}/so.so`, 1111);
const bound = compile('bound.c', `${directory}/bound.so`);

const begin = (options = {}) => `
  import { loaded, SoHandle } from 'soswap';
  import * as dl from 'soswap/dl';
  ${importUntil}
  const int = { return: 'int32' };
  const so = SoHandle.open('${library}', { count: int }, ${JSON.stringify({ scope: 'global', ...options })});
  const gone = [];
  so.on('unmapped', ({ generation }) => gone.push(generation));
  const open = (flags) => {
    const handle = dl.dlopen('${bound}', flags);
    return { handle, count: dl.functionAt(dl.dlsym(handle, 'count_there'), int) };
  };
  const needing = () => loaded().map(({ neededBy }) => neededBy);
`;

for (const order of ['close-first', 'open-first']) {
  t.test(`${order}: they keep the image, which is seen before the swap`, async (t) => {
    const program = `
      ${begin()}
      const before = needing();
      const { handle, count } = open(dl.constants.RTLD_NOW);
      const counts = [count(), so.functions.count()];
      const after = needing();
      const { unmapped, retained } = await so.swap({ order: '${order}' });
      counts.push(count(), so.functions.count());
      dl.dlclose(handle);
      await until('the image is gone', () => gone.length === 1);
      process.send({ before, after, unmapped, retained, counts, left: needing() });
    `;
    const ended = await runProgram(program, { cwd: directory });
    const message = {
      before: [[]],
      after: [[bound]],
      unmapped: false,
      retained: [{ code: 'bound-by', detail: `other objects are bound to it: ${bound}` }],
      counts: [1, 2, 3, 1],
      left: [[]],
    };
    t.match(ended, { ...exitedCleanly, messages: [message] });
  });
}

t.test("unload: 'always': the loader keeps the image, and the report says why", async (t) => {
  const program = `
    ${begin({ unload: 'always' })}
    const { count } = open(dl.constants.RTLD_NOW);
    const { retained } = await so.swap();
    process.send({ retained, count: count() });
  `;
  const ended = await runProgram(program, { cwd: directory });
  const retained = [{ code: 'bound-by', detail: `other objects are bound to it: ${bound}` }];
  t.match(ended, { ...exitedCleanly, messages: [{ retained, count: 1 }] });
});

t.test('one that the loader has not bound yet takes the new image', async (t) => {
  const program = `
    ${begin()}
    const { count } = open(dl.constants.RTLD_LAZY);
    so.functions.count();
    const { unmapped } = await so.swap();
    process.send({ unmapped, count: count(), needing: needing() });
  `;
  const ended = await runProgram(program, { cwd: directory });
  t.match(ended, {
    ...exitedCleanly,
    messages: [{ unmapped: true, count: 1, needing: [[bound]] }],
  });
});
