import { request } from 'node:http';
import { readArguments } from './arguments.js';
import { exitOnSignal } from './exit-on-signal.js';
import { findProcesses, type ServiceProcess } from './fleet/client.js';
import { readSelection, selectionOptions } from './fleet/selection.js';

const usage = `usage: soswap events [--name N | --pid P] [--json]

Prints a line for each swap, refusal, failed probation and late unmapping in the processes that serve a control socket, until
Ctrl-C or until the last of them has ended.

      --name N      only the processes of the service N
      --pid P       only the process P
      --json        output of one JSON object per line
  -h, --help        this help

exit codes: 0 they have ended; 1 there are none; 2 wrong usage; 130 Ctrl-C
`;

interface Told {
  readonly thread: number;
  readonly path: string;
  readonly data: { readonly generation?: number; readonly message?: string };
}

export async function run(args: string[]): Promise<void> {
  const { all: _, ...options } = selectionOptions;
  const parsed = readArguments(args, usage, [], {
    ...options,
    json: { type: 'boolean', default: false },
  });
  if (parsed === undefined) return;
  const processes = await findProcesses(readSelection(parsed.values));
  if (processes.length === 0) {
    process.stderr.write('soswap: no process serves a control socket here\n');
    process.exitCode = 1;
    return;
  }
  exitOnSignal(() => undefined, 0);
  await Promise.all(processes.map((each) => follow(each, parsed.values.json)));
}

/** Prints what a process tells, until it ends. */
function follow(service: ServiceProcess, json: boolean): Promise<void> {
  const { socket, pid, name } = service;
  return new Promise((resolve) => {
    const asked = request({ socketPath: socket, path: '/v1/events', agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (more) => {
        text += more;
        const blocks = text.split('\n\n');
        text = blocks.pop() ?? '';
        for (const block of blocks) print(block);
      });
      response.on('close', resolve).on('error', () => {});
    });
    asked.on('error', () => resolve()).end();
  });

  function print(block: string): void {
    const [, event, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
    if (event === undefined || data === undefined) return;
    const told: Told = JSON.parse(data);
    const { thread, path } = told;
    const { generation, message } = told.data;
    const what = message ?? (generation === undefined ? '' : `generation ${generation}`);
    const line = json
      ? JSON.stringify({ pid, name, event, ...told })
      : `${name} (pid ${pid}, thread ${thread}): ${event}: ${path}${what === '' ? '' : `: ${what}`}`;
    process.stdout.write(`${line}\n`);
  }
}
