import { mkdirSync, readdirSync } from 'node:fs';
import t from 'tap';
import { twoBuilds } from '../fixtures/build.js';
import { runProgram } from '../fixtures/child.js';
import { gateProgram, storages } from '../fixtures/gate-program.js';

const builds = twoBuilds(t.testdir(), 'gate.c');

/** What a program is doing when it ends; `gate` opens when JavaScript is over. */
const states: Record<string, string> = {
  'calls in flight': '',
  'a swap() just begun': 'so.swap();',
  'a swap() that waits, and calls that wait for it': `
    let verified = false;
    so.swap({ verify: () => { verified = true; } });
    await until('the candidate is verified', () => verified);
    await nextTurn();
    for (let call = 0; call < 6; call++) so.functions.pass(gate).catch(() => {});
  `,
  'an open-first swap() whose old image has calls': `
    so.swap({ order: 'open-first' });
    await until('it is swapped', () => so.generation === 2);
    for (let call = 0; call < 6; call++) so.functions.pass(gate).catch(() => {});
  `,
  'a verify() that is not done': `
    await new Promise((resolve) => {
      so.swap({
        verify: ({ pass }) => {
          pass(gate);
          resolve();
          return new Promise(() => {});
        },
      });
    });
  `,
  'a candidate in quarantine': `
    so.swap({ quarantine: true });
    await nextTurn();
  `,
};
const ends: [string, string, object, (typeof storages)[string][]][] = [
  [
    'process.exit()',
    'process.exit(7);',
    { code: 7, signal: null, stderr: '' },
    Object.values(storages),
  ],
  [
    'an uncaught error',
    'throw new Error("the end");',
    { code: 1, signal: null, stderr: /^Error: the end$/m },
    [storages['in a private file']!],
  ],
];
for (const [state, text] of Object.entries(states)) {
  for (const [end, last, expected, environments] of ends) {
    t.test(`a program ends by ${end} with ${state}`, async (t) => {
      const cwd = t.testdir();
      for (const env of environments) {
        const temporary = `${cwd}/tmp${Object.keys(env).length}`;
        mkdirSync(temporary);
        const program = `
          ${gateProgram(builds, `${cwd}/so.so`)}
          replace(0);
          const gate = newGate();
          process.on('exit', () => open(gate));
          const so = SoHandle.open(path, definitions);
          for (let call = 0; call < 3; call++) so.functions.pass(gate).catch(() => {});
          await arrival(gate);
          replace(1);
          ${text}
          ${last}
        `;
        const ended = await runProgram(program, { cwd, env: { ...env, TMPDIR: temporary } });
        t.match(ended, expected);
        t.same(readdirSync(temporary), []);
      }
    });
  }
}
