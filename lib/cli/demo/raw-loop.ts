// A process that knows dlopen(3) and not soswap. For each line that it reads it goes once around its loop:
// open the library, find action(), call it. What action() prints goes to the standard output.

import { createInterface } from 'node:readline';
import { dlopen, dlsym, functionAt } from '../../dl.js';
import { native } from '../../native/addon.js';

const [, , path = ''] = process.argv;
native.leaveNoCore(); // it is meant to crash

for await (const _ of createInterface(process.stdin)) {
  const handle = dlopen(path);
  const action = functionAt(dlsym(handle, 'action'), { return: 'int32' });
  action();
}
