// What a call costs before, during and after a probation: after it, as before. Medians of rounds in which all are measured.
// The table is Markdown.
//
//   npm run bench -- probation [ROUNDS]

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { measure } from 'mitata';
import { SoHandle } from 'soswap';
import { compile } from '../fixtures/build.js';

const rounds = Number(process.argv[2] ?? 15);
const directory = mkdtempSync(join(tmpdir(), 'soswap-bench-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const library = compile('calls.c', join(directory, 'calls.so'), '-O2');

const open = (leaf: boolean) =>
  SoHandle.open(library, {
    noop: { leaf },
    add: { arguments: ['int32', 'int32'], return: 'int32', leaf },
    mul: { arguments: ['float64', 'float64'], return: 'float64', leaf },
  });
const cases = {
  'noop()': 'call.noop()',
  'add(int32, int32)': 'call.add(i, 4)',
  'mul(float64, float64)': 'call.mul(i, 2.5)',
};

/** Handles that were swapped: without a probation, with one that is on, and with one that is over. */
async function handles(leaf: boolean) {
  const [before, during, after] = [open(leaf), open(leaf), open(leaf)];
  await before.swap();
  await during.swap({ probation: { calls: Number.MAX_SAFE_INTEGER } });
  await after.swap({ probation: { calls: 1 } });
  after.functions.noop();
  return { before, during, after };
}

async function nanoseconds(call: object, expression: string): Promise<number> {
  const turns = 10_000;
  const text = `let i = 0; return () => { for (i = 0; i < ${turns}; i++) ${expression}; };`;
  const run = new Function('call', text)(call);
  const { p50 } = await measure(run, { min_cpu_time: 20e6 });
  return p50 / turns;
}

const median = (values: number[]) =>
  values.sort((one, other) => one - other)[values.length >> 1] as number;

console.log(`Node.js ${process.versions.node}, ns per call\n`);
console.log('| call | before | during | after | after ÷ before |');
console.log('| --- | --- | --- | --- | --- |');
for (const leaf of [true, false]) {
  const all = await handles(leaf);
  for (const [name, expression] of Object.entries(cases)) {
    const times = { before: [] as number[], after: [] as number[], during: [] as number[] };
    const round = async (...states: (keyof typeof times)[]) => {
      for (const state of states) {
        times[state].push(await nanoseconds(all[state].functions, expression));
      }
    };
    for (let count = 0; count < rounds; count++) await round('before', 'after');
    // Last: what V8 learns of its calls would hold for the others too.
    for (let count = 0; count < rounds; count++) await round('during');
    const [before, after, during] = Object.values(times).map(median) as [number, number, number];
    const cells = [before, during, after].map((value) => value.toFixed(1));
    const label = leaf ? name : `${name}, leaf: false`;
    console.log(`| ${label} | ${cells.join(' | ')} | ${(after / before).toFixed(2)} |`);
  }
  for (const so of Object.values(all)) so.close();
}
