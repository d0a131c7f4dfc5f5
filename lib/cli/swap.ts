import { readArguments } from './arguments.js';
import {
  Cancellation,
  readPlan,
  swapExitCodes,
  swapFleet,
  swapOptions,
  swapUsage,
} from './fleet/run.js';
import { libraryOf, readSelection } from './fleet/selection.js';

const usage = `usage: soswap swap LIB [--name N | --pid P | --all] [OPTIONS]

Makes the file LIB take effect in all processes that have it open and serve a control socket: prepares the swap in each, with
all of its threads, then commits it in all. If one of them refuses or does not answer, nothing changes in any. If one
fails or ends while others have committed, these go back. A bare name means every library with that file name.

${swapUsage}
  -h, --help        this help

${swapExitCodes}

example: soswap swap /srv/shop/libprice.so --name shop --quarantine
`;

export async function run(args: string[]): Promise<void> {
  const parsed = readArguments(args, usage, ['LIB'], swapOptions);
  if (parsed === undefined) return;
  const { values, operands } = parsed;
  using cancellation = new Cancellation();
  const plan = readPlan(values, libraryOf(operands[0]), readSelection(values));
  await swapFleet(plan, cancellation);
}
