import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Running } from '../fixtures/child.js';
import { until } from '../fixtures/until.js';

const example = (name: string) => fileURLToPath(new URL(`../examples/${name}`, import.meta.url));

/** Whether there is such a process. One that has ended may wait for its parent, who is gone, for ever. */
function runs(pid: number): boolean {
  try {
    return !/\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

t.test('the service swaps under load, and no request fails', async (t) => {
  const TMPDIR = t.testdir();
  const args = [example('service/run.js'), '--seconds', '60', '--every', '100'];
  const service = new Running(args, { cwd: TMPDIR, env: { TMPDIR } });
  // Seconds, requests, swaps, refused builds: there were some of each.
  await service.says(/^ +\d+ +[1-9]\d* +[1-9]\d* +[1-9]/m);
  const ended = await service.end('SIGINT');
  t.match(ended, { code: 0, signal: null, stderr: '' });
  const { stdout } = ended;
  t.match(stdout, /^requests answered: \d+ \(.*\b[1-9]\d* with 0 % off/m, 'the old price was seen');
  t.match(stdout, /^requests answered: \d+ \(.*\b[1-9]\d* with 10 % off/m, 'the new one too');
  t.match(stdout, /^failed requests: 0$/m);
  t.match(stdout, /^wrong prices: 0$/m);
  t.match(stdout, /^exit code of the service: 0$/m);
  t.same(readdirSync(TMPDIR), [], 'no file is left behind');
});

t.test('the cluster takes each build as one, and no request fails', async (t) => {
  const before = leftovers();
  const args = [example('cluster/run.js'), '--deployments', '60'];
  const ended = await new Running(args, { cwd: t.testdir() }).end();
  t.match(ended, { code: 0, signal: null, stderr: '' });
  const { stdout } = ended;
  t.match(stdout, /^deployments: 57, refused builds: 3$/m);
  t.match(stdout, /^requests answered: [1-9]\d\d/m);
  t.match(stdout, /^failed requests: 0$/m);
  t.match(stdout, /^answers of a build that was not deployed any more: 0$/m);
  t.match(stdout, /^exit code of the service: 0$/m);
  t.same(leftovers(), before, 'no file is left behind');
});

/** What clusters have left in the directory for temporary files. */
function leftovers(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith('soswap-cluster-'));
}

t.test('the service ends with the program that started it', async (t) => {
  const TMPDIR = t.testdir();
  const run = new Running([example('service/run.js')], { cwd: TMPDIR, env: { TMPDIR } });
  const [, pid] = /process (\d+)/.exec(await run.says(/process \d+/)) ?? [];
  t.ok(runs(Number(pid)), 'it runs');
  await run.end('SIGKILL');
  await until('the service has ended', () => !runs(Number(pid)));
});

t.test('the development loop runs what was saved, if it is any good', async (t) => {
  const TMPDIR = t.testdir({ tmp: {} });
  const source = join(TMPDIR, 'price.c');
  const text = readFileSync(example('dev-loop/price.c'), 'utf8');
  const saved = (change: string) => writeFileSync(source, text.replace('base * count', change));
  saved('base * count');
  const env = { TMPDIR: join(TMPDIR, 'tmp') };
  const loop = new Running([example('dev-loop/dev.js'), source], { cwd: TMPDIR, env });
  await loop.says(/^quote\(100, 3\) = 300$/m);

  saved('base * count * 0.9');
  await loop.says(/^generation 2 .*\nquote\(100, 3\) = 270$/m);

  let since = loop.stdout.length;
  saved('base * cont');
  await loop.says(/error: .*cont.*[\s\S]*Not compiled/, since);

  since = loop.stdout.length;
  writeFileSync(source, text.replace('quote', 'quota'));
  await loop.says(/symbol quote is absent[\s\S]*Refused[\s\S]*quote\(100, 3\) = 270/, since);

  saved('base * count / 2');
  await loop.says(/^generation 3 .*\nquote\(100, 3\) = 150$/m);
  t.match(await loop.end('SIGINT'), { code: 0, signal: null, stderr: '' });
  t.same(readdirSync(env.TMPDIR), [], 'no file is left behind');
});

t.test('the development loop ends if there is nothing to run', async (t) => {
  const TMPDIR = t.testdir({ 'price.c': 'double quote(', tmp: {} });
  const env = { TMPDIR: join(TMPDIR, 'tmp') };
  const loop = new Running([example('dev-loop/dev.js'), 'price.c'], { cwd: TMPDIR, env });
  const ended = await loop.end();
  t.match(ended, { code: 1, signal: null, stderr: '', stdout: /error: .*\n/ });
  t.same(readdirSync(env.TMPDIR), []);
});

t.test('the plug-in host serves while plug-ins come, change and go', async (t) => {
  const TMPDIR = t.testdir();
  const host = new Running([example('plugins/run.js')], { cwd: TMPDIR, env: { TMPDIR } });
  const ended = await host.end();
  t.match(ended, { code: 0, signal: null, stderr: '' });
  const { stdout } = ended;
  t.match(stdout, /^20 plug-ins run with release 1 of the core$/m);
  for (const what of ['replaced', 'replaced, and all plug-ins with it', 'added', 'removed']) {
    t.match(stdout, new RegExp(`^(the core|a plug-in) is ${what}$`, 'm'));
  }
  t.match(stdout, /^a core without what the plug-ins need is refused$/m);
  t.match(stdout, /^calls: [1-9]\d{2,}$/m);
  t.match(stdout, /^wrong answers: 0$/m);
  t.match(stdout, /^images that are left: 0$/m);
  t.same(readdirSync(TMPDIR), [], 'no file is left behind');
});
