import type { FunctionTable } from '../call/function-table.js';
import type { Definitions } from '../call/types.js';
import type { Generation } from '../image/generation.js';
import type { Source } from '../image/source.js';
import { SoError } from '../internal/errors.js';

/** What a swap works on: the functions of a handle, and the generation that they run. */
export class SwapTarget<D extends Definitions = Definitions> {
  /** What runs; `undefined` before the first image and after the handle was closed. */
  current: Generation | undefined;
  /** An exchange is under way: a constructor or a destructor of the library may call back into JavaScript. */
  exchanging = false;
  #lastNumber = 0;

  constructor(
    readonly source: Source,
    readonly definitions: D,
    readonly table: FunctionTable<D>,
  ) {}

  get path(): string {
    return this.source.path;
  }

  /** The number of the generation that runs, or ran last. */
  get number(): number {
    return this.current?.number ?? this.#lastNumber;
  }

  /** What runs. @throws {SoError} `ERR_SOSWAP_CLOSED` */
  get running(): Generation {
    if (this.current !== undefined) return this.current;
    throw new SoError('ERR_SOSWAP_CLOSED', `the handle of '${this.path}' is closed`, this.path);
  }

  /** Refuses to touch the running image while code of it runs. @throws {SoError} `ERR_SOSWAP_BUSY`, `ERR_SOSWAP_CLOSED` */
  assertIdle(): void {
    const calls = this.running.image.callsInFlight;
    if (calls > 0) throw this.busy(`${calls} call(s) in flight`);
    if (this.exchanging) throw this.busy('a swap is exchanging its images');
  }

  /** Lets no function run any more. Returns the generation that ran, to be retired. */
  close(): Generation {
    const last = this.running;
    this.#lastNumber = last.number;
    this.current = undefined;
    this.table.close();
    return last;
  }

  busy(reason: string): SoError {
    return new SoError('ERR_SOSWAP_BUSY', `'${this.path}' is busy: ${reason}`, this.path);
  }
}
