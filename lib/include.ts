/**
 * The directory of `soswap.h`, for compilers. It loads nothing of soswap.
 *
 * @module soswap/include
 */

import { fileURLToPath } from 'node:url';

/**
 * The absolute path of the directory that contains `soswap.h`. The command `soswap include` prints it too.
 *
 * @example
 * console.log(`cc -shared -fPIC -I${include} price.c -o libprice.so`);
 */
export const include: string = fileURLToPath(new URL('../native/include', import.meta.url));
