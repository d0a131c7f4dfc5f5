import type { FunctionTable } from '../call/function-table.js';
import { checkSymbolName, copyDefinition } from '../call/signature.js';
import { SymbolReference, type SymbolReferenceOptions } from '../call/symbol-reference.js';
import type { Definition, Definitions } from '../call/types.js';
import type { Candidate } from '../image/candidate.js';
import type { FileStatus } from '../image/file-status.js';
import type { Generation, Replacing } from '../image/generation.js';
import { type Earlier, History } from '../image/history.js';
import type { Image } from '../image/image.js';
import type { CloseResult } from '../image/image-info.js';
import { snapshotMapping } from '../image/mapping.js';
import type { Source } from '../image/source.js';
import { sweep } from '../image/sweep.js';
import { Ending } from '../internal/ending.js';
import { SoError } from '../internal/errors.js';
import { flag, type Keys, readOptions } from '../internal/options.js';
import type { Steps } from '../internal/steps.js';
import { type TakeBack, takeBackAll } from '../internal/take-back.js';
import { native } from '../native/addon.js';
import type { BoundFunction, HandedOver } from '../native/types.js';
import { announceHookLines } from './hook-lines.js';
import type { CommitPlan, SwapDefaults } from './plan.js';
import { Probation, type ProbationPlan } from './probation.js';

const referenceKeys: Keys<SymbolReferenceOptions> = { optional: true };

/** The dependencies that a library has to itself; lib/swap/private-dependencies.ts. */
interface OwnDependencies {
  fileStatus(replacing: Replacing): Steps<FileStatus>;
  readonly paths: readonly string[];
  closeUnneeded(): void;
  endLives(): void;
}

/** A generation whose calls failed more often than allowed. */
export interface FailedProbation {
  readonly generation: Generation;
  /** What the last call failed with. */
  readonly cause: unknown;
  /** The swap that began it. */
  readonly swap: CommitPlan;
}

/** What a swap works on: the functions of a handle, and the generation that they run. */
export class SwapTarget<D extends Definitions = Definitions> {
  /** What runs; `undefined` before the first image and after the handle was closed. */
  current: Generation | undefined;
  /** A swap is under way: its first half, its second, or both. */
  swapping = false;
  /** An exchange is under way: a constructor or a destructor of the library may call back into JavaScript. */
  exchanging = false;
  /** The swap that is under way has taken effect, and retires the previous image. */
  committed = false;
  /** Comes when the handle is closed. */
  readonly ending = new Ending();
  /** What became of the last image. */
  closeResult: CloseResult = { unmapped: false, retained: [] };
  /** Called when it was closed. */
  onClosed: ((result: CloseResult) => void) | undefined;
  /** Of the generation that runs. */
  probation: Probation | undefined;
  /** Called when it has failed. */
  onProbationFailed: ((failed: FailedProbation) => void) | undefined;
  /** A swap that is prepared and waits for its commit. */
  prepared: { readonly takeBack: TakeBack } | undefined;
  /** Those that are swapped and closed with it. */
  dependencies: OwnDependencies | undefined;
  #lastNumber = 0;

  /** What it can go back to. */
  readonly history: History;

  constructor(
    readonly source: Source,
    readonly definitions: D,
    readonly table: FunctionTable<D>,
    /** What its swaps do where they have no option of their own. */
    readonly defaults: SwapDefaults<D> = {},
  ) {
    this.history = new History(source.history);
  }

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
    throw this.closedError();
  }

  /** What a swap replaces: nothing before the first image. @throws {SoError} `ERR_SOSWAP_CLOSED` */
  get replaced(): Generation | undefined {
    return this.ending.hasCome ? this.running : this.current;
  }

  /** What became of its file, and of those of the dependencies that a swap takes. */
  *fileStatus(replacing: Replacing): Steps<FileStatus> {
    let status = yield* this.running.fileStatus(replacing);
    if (status === 'current' && this.dependencies !== undefined) {
      status = yield* this.dependencies.fileStatus(replacing);
    }
    if (status !== 'replaced' && status !== 'overwritten') return status;
    for (const copies of this.history.left) if (yield* areCurrent(copies)) return 'rolled-back';
    return status;
  }

  /**
   * Takes over that the next generation has replaced this one.
   *
   * @param isBack The handle went back to it.
   * @returns The copies that nobody needs any more.
   */
  keepHistory(previous: Generation, isBack: boolean): readonly Candidate[] {
    const withOwn = (candidate: Candidate) =>
      this.dependencies === undefined ? [candidate] : [...candidate.withProviders()];
    const dropped = this.history.replaced(previous, isBack, withOwn);
    if (this.source.history > 0) this.current?.image.showHistory(this.history.bytes);
    return dropped;
  }

  /** The generation that it goes back to. @throws {SoError} `ERR_SOSWAP_NO_HISTORY` */
  get earlier(): Earlier {
    const { newest } = this.history;
    if (newest !== undefined) return newest;
    throw this.#noHistory('go back to an earlier generation');
  }

  #noHistory(what: string): SoError {
    const { path, source } = this;
    const why =
      source.mapping !== snapshotMapping
        ? "image: 'direct' keeps no copies"
        : source.history === 0
          ? 'it was opened with history: 0'
          : `the option history keeps ${source.history}`;
    const message = `cannot ${what} of '${path}': no earlier one is kept; ${why}`;
    return new SoError('ERR_SOSWAP_NO_HISTORY', message, path);
  }

  /** Puts the generation that runs now on probation. */
  startProbation(plan: ProbationPlan, swap: CommitPlan): void {
    const generation = this.running;
    this.probation = new Probation(this.table.slots, plan, (cause) => {
      this.onProbationFailed?.({ generation, cause, swap });
    });
  }

  /** Refuses a probation where there would be no way back. @throws {SoError} `ERR_SOSWAP_NO_HISTORY` */
  assertKeepsHistory(): void {
    if (this.source.history > 0 && this.source.mapping === snapshotMapping) return;
    throw this.#noHistory('put a new generation on probation');
  }

  /** The paths of the dependencies of the running image, without those of the program. */
  get dependencyPaths(): readonly string[] {
    const shared = this.current?.image.dependencyPaths ?? [];
    return [...shared, ...(this.dependencies?.paths ?? [])];
  }

  closedError(): SoError {
    return new SoError('ERR_SOSWAP_CLOSED', `the handle of '${this.path}' is closed`, this.path);
  }

  /** Refuses to touch the running image while code of it runs. @throws {SoError} `ERR_SOSWAP_BUSY`, `ERR_SOSWAP_CLOSED` */
  assertIdle(): void {
    const calls = this.running.image.callsInFlight;
    if (calls > 0) throw this.busy(`${calls} call(s) in flight`);
    if (this.exchanging) throw this.busy('a swap is exchanging its images');
  }

  /** The image to look symbols up in. @throws {SoError} `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_NOT_LOADED` */
  get #loadedImage(): Image {
    const { image } = this.running;
    if (image.isOpen) return image;
    throw new SoError('ERR_SOSWAP_NOT_LOADED', `'${this.path}' has no image now`, this.path);
  }

  /** Binds one more function. `present`: the running image has its symbol. */
  bind(symbol: string, definition: Definition): { call: BoundFunction; present: boolean } {
    checkSymbolName(symbol);
    const copy = copyDefinition(symbol, definition); // its getters may swap or close
    const present = this.#has(symbol, copy.optional);
    const call = this.table.bind(symbol, copy);
    if (present) this.table.publish(symbol, call);
    return { call, present };
  }

  /** Refers to one more symbol. */
  refer(symbol: string, options: SymbolReferenceOptions): SymbolReference {
    checkSymbolName(symbol);
    const { optional: given } = readOptions('options', options, referenceKeys);
    const optional = flag('options.optional', given);
    this.#has(symbol, optional);
    return new SymbolReference(symbol, optional, this.table.references);
  }

  /** Whether the running image has a symbol. @throws {SoError} `ERR_SOSWAP_MISSING_SYMBOL`: it must have it, and has not. */
  #has(symbol: string, optional = false): boolean {
    const present = this.#loadedImage.symbol(symbol) !== undefined;
    if (!present && !optional) throw this.running.candidate.lacks([symbol]);
    return present;
  }

  /** The address of a symbol in the running image. */
  addressOf(symbol: string): bigint {
    checkSymbolName(symbol);
    const image = this.#loadedImage;
    const address = image.symbol(symbol);
    if (address === undefined) throw this.running.candidate.lacks([symbol]);
    return address;
  }

  /** Has the running image save its state. @throws {SoError} */
  saveState(): HandedOver | undefined {
    const image = this.#loadedImage;
    if (this.exchanging) throw this.busy('a swap is exchanging its images');
    this.exchanging = true; // a hook may call back into JavaScript
    try {
      return this.source.library.save(image.id);
    } finally {
      this.exchanging = false;
      announceHookLines();
    }
  }

  /** Calls the hook soswap_unload at the end of the thread, unless calls are in flight; no function runs afterwards. */
  endLife(): void {
    const { current } = this;
    if (current?.image.isOpen !== true || current.image.callsInFlight > 0 || this.exchanging)
      return;
    if (current.hasLife) {
      this.table.close();
      current.image.unload();
      announceHookLines();
    }
    this.dependencies?.endLives();
  }

  /** Takes the prepared swap back that waits, if any; not `committed`, which took effect. */
  dropPrepared(committed?: object): void {
    const { prepared } = this;
    this.prepared = undefined;
    if (prepared !== undefined && prepared !== committed) takeBackAll(prepared.takeBack);
  }

  /** Lets no function run any more, settles what waits for a swap, and gives the running generation up. No call may be in flight. */
  close(): CloseResult {
    const { candidate, image, number, closed } = this.running;
    const info = closed === undefined ? this.running.info : undefined;
    this.dropPrepared();
    this.probation?.end();
    this.#lastNumber = number;
    this.current = undefined;
    this.ending.come();
    this.table.close();
    const retained = closed ?? candidate.retire(image);
    announceHookLines();
    if (retained.length > 0) this.source.retained.describe(image.facts.loaderName, info);
    if (this.source.account) native.leftBehind(image.facts.loaderName); // forgets it
    candidate.release();
    this.history.clear();
    this.dependencies?.closeUnneeded();
    sweep();
    this.closeResult = { unmapped: retained.length === 0, retained };
    this.table.references.announce();
    this.onClosed?.(this.closeResult);
    return this.closeResult;
  }

  busy(reason: string): SoError {
    return new SoError('ERR_SOSWAP_BUSY', `'${this.path}' is busy: ${reason}`, this.path);
  }
}

/** Whether all of their files have the bytes that were copied. */
function* areCurrent(copies: readonly Candidate[]): Steps<boolean> {
  for (const { file } of copies) if ((yield* file.status()) !== 'current') return false;
  return true;
}
