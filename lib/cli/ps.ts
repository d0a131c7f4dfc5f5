import { readArguments } from './arguments.js';
import { findProcesses } from './fleet/client.js';
import { readSelection, selectionOptions } from './fleet/selection.js';
import { table } from './table.js';

const usage = `usage: soswap ps [--name N | --pid P] [--json]

Lists the libraries of the processes that serve a control socket, serveControl() of soswap/control, in the usual places:
$SOSWAP_CONTROL_DIR, or $XDG_RUNTIME_DIR/soswap, /run/soswap for root, and soswap-UID in $TMPDIR.

      --name N      only the processes of the service N
      --pid P       only the process P
      --json        output of one JSON object for each handle
  -h, --help        this help

exit codes: 0 some were found; 1 none was; 2 wrong usage
`;

export async function run(args: string[]): Promise<void> {
  const { all: _, ...options } = selectionOptions;
  const parsed = readArguments(args, usage, [], {
    ...options,
    json: { type: 'boolean', default: false },
  });
  if (parsed === undefined) return;
  const processes = await findProcesses(readSelection(parsed.values));
  const rows = processes.flatMap(({ pid, name, handles }) =>
    handles.map((handle) => ({ pid, name, ...handle })),
  );
  for (const { pid, name, isSilent } of processes) {
    if (isSilent) process.stderr.write(`soswap: ${name} (pid ${pid}) does not answer\n`);
  }
  if (parsed.values.json) {
    for (const row of rows) process.stdout.write(`${JSON.stringify(row)}\n`);
  } else if (rows.length > 0) {
    const head = ['pid', 'name', 'thread', 'library', 'generation', 'build id', 'status'];
    const lines = rows.map(({ pid, name, thread, path, generation, buildId, status }) => [
      `${pid}`,
      name,
      `${thread}`,
      path,
      `${generation}`,
      buildId?.slice(0, 8) ?? '',
      status,
    ]);
    process.stdout.write(table(head, lines));
  }
  if (rows.length > 0) return;
  process.stderr.write('soswap: no process with an open library serves a control socket here\n');
  process.exitCode = 1;
}
