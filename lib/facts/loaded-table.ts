import { basename } from 'node:path';
import { tableLines } from '../internal/table.js';
import { type LoadedImage, loaded } from './loaded.js';

/**
 * {@link loaded} as a table for people: path, generation, inode, the first eight digits of the build id, base
 * address, bytes of address space, live or why it is retained, calls in flight, and what needs it.
 *
 * @example
 * process.on('SIGUSR2', () => console.error(loadedTable())); // kill -USR2 PID shows it
 */
export function loadedTable(images: readonly LoadedImage[] = loaded()): string {
  const head = ['library', 'generation', 'inode', 'build id', 'base', 'bytes', 'state', 'calls'];
  const lines = tableLines([...head, 'needed by'], images.map(row));
  return lines.map((line) => `${line}\n`).join('');
}

function row(image: LoadedImage): string[] {
  const { path, generation, inode, buildId, base, memorySize, retained } = image;
  const reasons = retained.map(({ code }) => code).join(', ');
  return [
    path,
    `${generation}`,
    `${inode}`,
    buildId?.slice(0, 8) ?? '',
    `0x${base.toString(16)}`,
    memorySize.toLocaleString('en'),
    reasons === '' ? 'live' : `retained: ${reasons}`,
    `${image.callsInFlight}`,
    image.neededBy.map((name) => basename(name)).join(', '),
  ];
}
