import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { means } from '../../control/names.js';
import { wholeNumber } from '../arguments.js';
import { UsageError } from '../usage-error.js';
import { findProcesses, type Selection, type ServiceProcess } from './client.js';

/** The options that say which processes are meant. */
export const selectionOptions = {
  name: { type: 'string' },
  pid: { type: 'string' },
  all: { type: 'boolean', default: false },
} as const;

export const selectionUsage = `      --name N      the processes of the service N
      --pid P       the process P
      --all         all processes of this user that have the library open; the default`;

/** Reads them. @throws {UsageError} */
export function readSelection(values: {
  readonly name?: string | undefined;
  readonly pid?: string | undefined;
  readonly all?: boolean | undefined;
}): Selection {
  const given = [values.name !== undefined, values.pid !== undefined, values.all === true];
  if (given.filter(Boolean).length > 1) {
    throw new UsageError('--name, --pid and --all exclude each other; see --help');
  }
  return { name: values.name, pid: wholeNumber('pid', values.pid, undefined, 1) };
}

/** The path of the library as handles have it; a bare name stays one, and means every library of that name. */
export function libraryOf(operand = ''): string {
  return operand.includes('/') || existsSync(operand) ? resolve(operand) : operand;
}

/** Finds the processes that have the library open, and those that do not say what they have. */
export async function processesWith(
  library: string,
  selection: Selection,
  timeout: number,
): Promise<ServiceProcess[]> {
  const all = await findProcesses(selection, Math.min(timeout, 5000));
  return all.filter(
    ({ handles, isSilent }) => isSilent || handles.some((each) => means(library, each.path)),
  );
}
