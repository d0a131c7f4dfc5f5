// The dlopen loop: a process that does not use SoHandle. For each line that it reads, it opens the library with dlopen(3),
// looks up action() and calls it. action() prints to the standard output.

import { createInterface } from 'node:readline';
import { dlopen, dlsym, functionAt } from '../../dl.js';
import { native } from '../../native/addon.js';

const [, , path = ''] = process.argv;
native.leaveNoCore(); // the demo makes this process crash

for await (const _ of createInterface(process.stdin)) {
  const handle = dlopen(path);
  const action = functionAt(dlsym(handle, 'action'), { return: 'int32' });
  action();
}
