import type { Turns } from '../swap/turns.js';

/** What the registry, and code that goes through the open handles, needs of a handle. */
export interface RegisteredHandle {
  readonly closed: boolean;
}

// The open handles of this thread. Weak: a program may drop a handle without closing it.
const handles = new Set<WeakRef<RegisteredHandle>>();
const forget = new FinalizationRegistry<WeakRef<RegisteredHandle>>((dropped) =>
  handles.delete(dropped),
);
const references = new WeakMap<RegisteredHandle, WeakRef<RegisteredHandle>>();

const turnsOfHandles = new WeakMap<object, Turns>();

/** The swaps of a handle, open or closed; `undefined` for anything else. */
export function turnsOf(handle: object): Turns | undefined {
  return turnsOfHandles.get(handle);
}

// A program may keep nothing but one bound function or reference; its handle must live as long, to be swapped.
const handleOf = new WeakMap<object, RegisteredHandle>();

export function* openHandles(): Generator<RegisteredHandle> {
  for (const reference of handles) {
    const handle = reference.deref();
    if (handle !== undefined) yield handle;
  }
}

export function addHandle(handle: RegisteredHandle, turns: Turns): void {
  const reference = new WeakRef(handle);
  handles.add(reference);
  references.set(handle, reference);
  forget.register(handle, reference, reference);
  turnsOfHandles.set(handle, turns);
  for (const call of turns.target.table.calls()) keepAlive(call, handle);
}

export function removeHandle(handle: RegisteredHandle): void {
  const reference = references.get(handle);
  if (reference === undefined) return;
  handles.delete(reference);
  forget.unregister(reference);
}

export function keepAlive(part: object, handle: RegisteredHandle): void {
  handleOf.set(part, handle);
}
