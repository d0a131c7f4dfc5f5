// Runs tap and tells its result: one line per test file, the failures with their diagnostics, and at
// the very end one line `N passed, N failed` (with `, N skipped` when there are any).
//
// It reads the runner's raw TAP from outside the runner, so that it has the last word whatever
// happens in there. Counted are test points, that is assertions; the lines that sum up a subtest or a
// file are not. A todo counts as skipped. One failure is added for
//   - a test file that a signal killed, that timed out, bailed out or exited with an error, or that
//     holds no test (a file that skips itself says why: `t.plan(0, 'needs gdb')`),
//   - a test file of which nothing was heard,
//   - a runner that fails for a reason of its own or finds nothing to run.
// The exit code is 0 exactly when nothing failed.
//
// Arguments go to tap: `npm test -- test/package.test.ts`.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { Parser } from 'tap-parser';

const total = { passed: 0, failed: 0, skipped: 0 };

const print = (text = '') => process.stdout.write(`${text}\n`);
const indent = (text, by) => text.replace(/^(?=.)/gm, ' '.repeat(by));

/** The diagnostics of a test point as text, its place first. */
const describe = ({ at, ...rest }) => {
  const lines = at?.fileName ? [`at ${at.fileName}:${at.lineNumber}:${at.columnNumber}`] : [];
  for (const [name, value] of Object.entries(rest)) {
    const text = typeof value === 'string' ? value.trimEnd() : inspect(value, { depth: 6 });
    lines.push(text.includes('\n') ? `${name}:\n${indent(text, 2)}` : `${name}: ${text}`);
  }
  return lines.join('\n');
};

/** What is heard of one test file before its closing point. */
const newReport = () => ({ passed: 0, skipped: 0, failures: [], protocolErrors: [], output: '' });

/** Why a file failed, where that is not one of its assertions. */
const failureBesideAssertions = (point, report, timedOut) => {
  const { exitCode, signal } = point.diag ?? {};
  const explained = report.failures.length > 0;
  if (timedOut) return explained ? undefined : 'timed out';
  if (signal) return `killed by ${signal}`;
  if (point.skip === 'no tests found') return 'holds no test';
  if (point.ok || explained) return undefined;
  return report.protocolErrors[0] ?? `exited with code ${exitCode}`;
};

const tellFile = (point, report, timedOut) => {
  const failure = failureBesideAssertions(point, report, timedOut);
  const skippedWhole = failure === undefined && Boolean(point.skip);
  const failed = report.failures.length + (failure === undefined ? 0 : 1);
  const skipped = report.skipped + (skippedWhole ? 1 : 0);
  total.passed += report.passed;
  total.failed += failed;
  total.skipped += skipped;

  const parts = [`${report.passed} passed`];
  if (failed > 0) parts.push(`${failed} failed`);
  if (skipped > 0) parts.push(`${skipped} skipped`);
  if (failure !== undefined) parts.push(failure);
  if (skippedWhole) parts.push(String(point.skip));
  if (point.time !== null) parts.push(`${(point.time / 1000).toFixed(1)} s`);
  print(`${failed > 0 ? 'FAIL' : 'ok  '} ${point.name}: ${parts.join(', ')}`);
  if (failed === 0) return;

  for (const { fullname, diag } of report.failures) {
    print(`\n  not ok: ${fullname}`);
    if (diag) print(indent(describe(diag), 4));
  }
  if (report.output) print(`\n  output:\n${indent(report.output.trimEnd(), 4)}`);
  print();
};

const tellFailure = (text) => {
  total.failed++;
  print(`FAIL ${text}`);
};

/** Tells each test file as its TAP ends. */
const readTap = async (stream) => {
  const parser = new Parser();
  let report = newReport();
  let closing;
  let bailedOut = false;
  const told = new Set();
  const expired = new Set();

  const listen = (to) => {
    to.on('child', listen);
    to.on('extra', (text) => {
      report.output += text;
    });
    to.on('complete', ({ failures }) => {
      for (const { tapError } of failures) if (tapError) report.protocolErrors.push(tapError);
    });
  };
  listen(parser);
  // tap-parser leaves the points that only sum up a subtest out of its `result` events.
  parser.on('result', (point) => {
    if (point === closing) return;
    if (point.skip || point.todo) report.skipped++;
    else if (point.ok) report.passed++;
    else report.failures.push(point);
  });
  // A point at the top level closes a file. tap adds one, without a file, for each time out.
  parser.on('assert', (point) => {
    closing = point;
    if (point.diag?.expired) {
      expired.add(point.diag.expired);
      return;
    }
    told.add(point.name);
    tellFile(point, report, point.diag?.signal === 'SIGALRM');
    report = newReport();
  });
  parser.on('bailout', (reason) => {
    bailedOut = true;
    tellFailure(`bailed out: ${reason}`);
  });
  stream.setEncoding('utf8').pipe(parser);
  await once(parser, 'complete');
  return { told, expired, bailedOut };
};

const tap = fileURLToPath(new URL('../node_modules/.bin/tap', import.meta.url));
const files = process.argv.slice(2);
const runner = spawn(tap, ['run', '--reporter=tap', ...files], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
const exited = once(runner, 'close');
const { told, expired, bailedOut } = await readTap(runner.stdout);
const [code, signal] = await exited;

// A file that bails out stops the run; it was counted, those after it were not run. Apart from that,
// tap loses a file for each one that times out: its own test point for the time out fills the plan.
if (!bailedOut) {
  const list = spawnSync(tap, ['list', ...files], { encoding: 'utf8' });
  for (const name of list.stdout.split('\n').filter(Boolean)) {
    if (told.has(name)) continue;
    const reason =
      expired.size > 0 ? 'its result was lost to a time out' : 'nothing was heard of it';
    tellFailure(`${name}: ${expired.has(name) ? 'timed out' : reason}`);
  }
}
if (total.passed + total.failed + total.skipped === 0) tellFailure('no test was run');
if (total.failed === 0 && code !== 0) tellFailure(`tap: ${signal ?? `exit code ${code}`}`);

const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : '';
print(`${total.passed} passed, ${total.failed} failed${skipped}`);
process.exitCode = total.failed > 0 ? 1 : 0;
