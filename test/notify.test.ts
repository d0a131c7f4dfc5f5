import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { notifyService, SoHandle, swapOnSignal } from 'soswap';
import t, { type Test } from 'tap';
import { twoBuilds } from '../fixtures/build.js';
import { until } from '../fixtures/until.js';

// What the service manager is told: sd_notify(3), Type=notify-reload of systemd.service(5).

const directory = t.testdir();
twoBuilds(directory);
writeFileSync(join(directory, 'bad.so'), 'no library');
// A datagram socket, which Node.js has not.
const receiver = `
import json, socket, sys
name = sys.argv[1]
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind('\\0' + name[1:] if name.startswith('@') else name)
print(json.dumps('bound'), flush=True)
while True:
    print(json.dumps(server.recv(65536).decode()), flush=True)
`;

/** What comes to a socket of this name. */
async function received(t: Test, name: string): Promise<string[]> {
  const child = spawn('python3', ['-c', receiver, name], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(async () => {
    child.kill();
    await once(child, 'exit');
  });
  const messages: string[] = [];
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (more) => {
    const lines = (text + more).split('\n');
    text = lines.pop() ?? '';
    messages.push(...lines.map((line) => JSON.parse(line)));
  });
  await until('the socket is bound', () => messages.shift() === 'bound');
  process.env.NOTIFY_SOCKET = name;
  t.teardown(() => {
    delete process.env.NOTIFY_SOCKET;
  });
  return messages;
}

for (const kind of ['a path', 'an abstract name']) {
  t.test(`a reload, told to ${kind}`, async (t) => {
    const run = mkdtempSync(join(tmpdir(), 'soswap-'));
    t.teardown(() => rmSync(run, { recursive: true }));
    const name = kind === 'a path' ? join(run, 'notify') : `@${run}`;
    const messages = await received(t, name);
    t.equal(notifyService('READY=1', 'STATUS=two\n  lines'), true);
    const next = async () => {
      await until('a message comes', () => messages.length > 0);
      return messages.shift();
    };
    t.equal(await next(), 'READY=1\nSTATUS=two lines');

    const path = join(run, 'so.so');
    const deploy = (name: string) => {
      copyFileSync(join(directory, `${name}.so`), `${path}.new`);
      renameSync(`${path}.new`, path);
    };
    deploy('so1');
    using so = SoHandle.open(path);
    so.on('refused', () => {});
    using _reload = swapOnSignal('SIGUSR2', {
      handles: [so],
      notify: true,
      swap: { order: 'open-first' },
    });
    const before = process.hrtime.bigint() / 1000n;
    for (const [name, status] of [
      ['so1', /^READY=1\nSTATUS=no library has changed$/],
      ['so2', /^READY=1\nSTATUS=so.so runs generation 2$/],
      ['bad', /^READY=1\nSTATUS=so.so was refused: .*not an ELF file$/],
    ] as const) {
      deploy(name);
      process.kill(process.pid, 'SIGUSR2');
      const [, time] = /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec((await next()) ?? '') ?? [];
      t.ok(BigInt(time ?? 0) >= before && BigInt(time ?? 0) <= process.hrtime.bigint() / 1000n);
      t.match(await next(), status);
    }
  });
}

t.test('without a manager, and with one that has gone', async (t) => {
  t.equal(notifyService('READY=1'), false);
  const warnings: Error[] = [];
  process.on('warning', (warning) => warnings.push(warning));
  t.teardown(() => {
    delete process.env.NOTIFY_SOCKET;
  });
  for (const [name, code] of [
    ['/absent/notify', 'ENOENT'],
    [`/${'x'.repeat(200)}`, 'ENAMETOOLONG'],
  ] as const) {
    process.env.NOTIFY_SOCKET = name;
    t.equal(notifyService('READY=1'), false);
    await until('there is a warning', () => warnings.length > 0);
    t.match(warnings.splice(0), [{ code: 'ERR_SOSWAP_SYSTEM', cause: { code } }]);
  }
  t.notOk(existsSync('/absent'));
  t.throws(() => swapOnSignal('SIGUSR2', { notify: 1 } as never), { code: 'ERR_INVALID_ARG_TYPE' });
});
