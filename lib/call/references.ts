import { throwLater } from '../internal/events.js';
import type { NativeNumber, NativeSlots } from '../native/types.js';

/** What the references of one handle share: the symbols that they refer to, and who waits for a change. */
export class References {
  readonly #slots: NativeSlots;
  readonly #slotNumbers = new Map<string, number>();
  readonly #listeners = new Set<() => void>();
  readonly #waiting: (() => void)[] = [];
  #changes: NativeNumber | undefined;
  #announced = 0;
  #calls: NativeNumber | undefined;
  /** What `changes` was when `#calls` was taken. */
  #callsSince = -1;
  #held = false;

  constructor(slots: NativeSlots) {
    this.#slots = slots;
  }

  /** How often the addresses have changed. The number in it is always that of now, also within an exchange. */
  get changes(): NativeNumber {
    this.#changes ??= this.#slots.changes();
    return this.#changes;
  }

  /** Whether new calls that can wait wait for {@link release}. */
  get held(): boolean {
    return this.#held;
  }

  /** The slot of a symbol: one if it is optional, another one if not. */
  slotOf(symbol: string, optional: boolean): number {
    const key = `${optional}:${symbol}`;
    const slot = this.#slotNumbers.get(key) ?? this.#slots.refer(symbol, optional);
    this.#slotNumbers.set(key, slot);
    return slot;
  }

  has(slot: number): boolean {
    return this.#slots.addressOf(slot) !== undefined;
  }

  /** @throws {SoError} `ERR_SOSWAP_CLOSED`, `ERR_SOSWAP_NOT_LOADED`, `ERR_SOSWAP_MISSING_SYMBOL` */
  addressOf(slot: number): bigint {
    const address = this.#slots.addressOf(slot);
    if (address === undefined) this.#slots.refuse(slot);
    return address as bigint;
  }

  /** The count of the calls in flight in the image that runs. There is one if a slot has an address. */
  get calls(): NativeNumber {
    const now = this.changes[0];
    if (this.#calls === undefined || this.#callsSince !== now) {
      this.#calls = this.#slots.calls() as NativeNumber;
      this.#callsSince = now;
    }
    return this.#calls;
  }

  /** Lets a swap go on that waits for calls. */
  settled(): void {
    this.#slots.settled();
  }

  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    for (const begin of this.#waiting.splice(0)) begin();
  }

  /** Calls `begin`, which never throws, now, or else in {@link release}. */
  whenReleased(begin: () => void): void {
    if (this.#held) this.#waiting.push(begin);
    else begin();
  }

  /** Has `listener` called after each change. Returns what ends that. */
  subscribe(listener: () => void): () => void {
    if (this.#listeners.size === 0) this.#announced = this.changes[0];
    const own = () => listener(); // a listener may subscribe twice
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  /** Calls the listeners, if anything has changed since they were called last. */
  announce(): void {
    if (this.#listeners.size === 0 || this.#announced === this.changes[0]) return;
    this.#announced = this.changes[0];
    for (const listener of [...this.#listeners]) throwLater(listener);
  }
}
