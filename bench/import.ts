// What the import of the package costs a program: soswap beside other packages that bring an addon. The table is
// Markdown.
//
//   npm run bench -- import [ROUNDS]
//
// Each import is measured in a fresh process, from inside, so that the start of Node.js does not count. Other programs on
// the machine lengthen the time, and hardly the processor time. The import in a worker comes after that of the main
// thread, when the process has the addon already.

import { spawnSync } from 'node:child_process';
import { availableParallelism, loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { median } from './swap/statistics.js';

const rounds = Number(process.argv[2] ?? 31);
const packages = ['soswap', 'koffi', 'ffi-rs'];
const columns = ['time', 'processor time', 'time in a worker'];

/** Prints the milliseconds of each column. */
const program = (name: string) => `
  const { Worker } = require('node:worker_threads');
  const timed = \`(async () => {
    const began = performance.now();
    await import('${name}');
    return performance.now() - began;
  })()\`;
  const before = process.cpuUsage();
  eval(timed).then((time) => {
    const { user, system } = process.cpuUsage(before);
    const post = "(time) => require('node:worker_threads').parentPort.postMessage(time)";
    const worker = new Worker(\`\${timed}.then(\${post})\`, { eval: true });
    worker.on('message', (inWorker) =>
      console.log(JSON.stringify([time, (user + system) / 1000, inWorker])));
  });`;

// The loader of a test runner would be part of what is measured.
const { NODE_OPTIONS: _, ...env } = process.env;
const cwd = fileURLToPath(new URL('..', import.meta.url));

function importTimes(name: string): number[] {
  const options = { cwd, env, encoding: 'utf8' } as const;
  const { stdout, stderr } = spawnSync(process.execPath, ['--eval', program(name)], options);
  if (stdout === '') throw new Error(`the import of ${name} failed: ${stderr}`);
  return JSON.parse(stdout);
}

// Round by round, so that whatever slows the machine down slows all of them down.
const times = Array.from({ length: rounds }, () => packages.map(importTimes));
const medians = packages.map((_, at) =>
  columns.map((_, column) => median(times.map((round) => round[at]![column]!))),
);

console.log(`Node.js ${process.version}, ${process.arch}, ${availableParallelism()} processors,`);
console.log(`load ${loadavg()[0]!.toFixed(1)}; milliseconds, median of ${rounds} processes, and ×`);
console.log('what koffi takes.\n');
console.log(`| package | ${columns.join(' | ')} |`);
console.log(`| --- |${' ---: |'.repeat(columns.length)}`);
for (const [at, name] of packages.entries()) {
  const cells = medians[at]!.map((time, column) => {
    const ratio = time / medians[packages.indexOf('koffi')]![column]!;
    return `${time.toFixed(1)} ×${ratio.toFixed(2)}`;
  });
  console.log(`| ${name} | ${cells.join(' | ')} |`);
}
