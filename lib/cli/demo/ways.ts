/** A way in which a library file gets replaced. */
export interface Way {
  readonly name: string;
  /** Shell commands for the preparation. The directory holds so1.so, so2.so, and so.so, a copy of so1.so. */
  readonly setup?: string;
  /** Path that the loops open. Defaults to so.so. */
  readonly path?: string;
  /** Shell commands that replace the file. A swap follows each; a command may make a file that the swap refuses. */
  readonly commands: readonly string[];
}

export const ways: readonly Way[] = [
  { name: 'cp in place', commands: ['cp so2.so so.so'] },
  { name: 'cp of the same bytes', commands: ['cp so1.so so.so'] },
  { name: 'rm and cp', commands: ['rm so.so; cp so2.so so.so'] },
  { name: 'mv', commands: ['mv so2.so so.so'] },
  { name: 'symlink to a file', setup: 'ln -sf so1.so so.so', commands: ['ln -sfn so2.so so.so'] },
  {
    name: 'symlink to a directory',
    setup: 'mkdir v1 v2; cp so1.so v1/so.so; cp so2.so v2/so.so; ln -s v1 current',
    path: 'current/so.so',
    commands: ['ln -sfn v2 current'],
  },
  { name: 'install', commands: ['install so2.so so.so'] },
  { name: 'strip in place', commands: ['strip so.so'] },
  { name: 'truncate to 0 bytes', commands: ['truncate -s 0 so.so', 'cp so2.so so.so'] },
];
