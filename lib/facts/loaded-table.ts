import { basename } from 'node:path';
import { tableLines } from '../internal/table.js';
import { type LoadedImage, loaded } from './loaded.js';

/**
 * Formats the list of {@link loaded} as a table: path, generation, inode, the first eight digits of the build id, base
 * address, bytes that the image holds, state with the reasons of a retained image, in-flight calls, and dependent objects.
 *
 * @param images The images to list. Defaults to all images of the process.
 * @returns The lines of the table, each with a line feed.
 *
 * @example
 * process.on('SIGUSR2', () => console.error(loadedTable())); // kill -USR2 PID prints the table
 */
export function loadedTable(images: readonly LoadedImage[] = loaded()): string {
  const head = ['library', 'generation', 'inode', 'build id', 'base', 'bytes', 'state', 'calls'];
  const lines = tableLines([...head, 'needed by'], images.map(row));
  return lines.map((line) => `${line}\n`).join('');
}

function row(image: LoadedImage): string[] {
  const { path, generation, inode, buildId, base, copySize, writtenSize, retained } = image;
  const reasons = retained.map(({ code }) => code).join(', ');
  return [
    path,
    `${generation}`,
    `${inode}`,
    buildId?.slice(0, 8) ?? '',
    `0x${base.toString(16)}`,
    (copySize + writtenSize).toLocaleString('en'),
    reasons === '' ? 'live' : `retained: ${reasons}`,
    `${image.callsInFlight}`,
    image.neededBy.map((name) => basename(name)).join(', '),
  ];
}
