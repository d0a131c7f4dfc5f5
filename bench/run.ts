// npm run bench -- NAME …  runs bench/NAME.ts with the arguments that follow.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const help = `usage: npm run bench -- NAME …

  calls [ROUNDS]      what a call costs
  probation [ROUNDS]  what a call costs before, during and after a probation
  swap                what a swap costs; --help tells more
  profile             where the time of a swap goes
  import [ROUNDS]     what the import of the package costs

Each measures soswap beside others, and says on what machine.`;

const [name = '--help'] = process.argv.splice(2, 1);
if (name === '--help') {
  console.log(help);
} else if (
  /^[a-z]+$/.test(name) &&
  existsSync(fileURLToPath(new URL(`${name}.ts`, import.meta.url)))
) {
  await import(`./${name}.js`);
} else {
  console.error(`bench: there is no '${name}'\n\n${help}`);
  process.exitCode = 2;
}
