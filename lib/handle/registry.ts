import type { BoundFunction } from '../native/addon.js';
import type { SoHandle } from './so-handle.js';

// The open handles of this thread. Weak: a program may drop a handle without closing it.
const handles = new Set<WeakRef<SoHandle>>();
const forget = new FinalizationRegistry<WeakRef<SoHandle>>((dropped) => handles.delete(dropped));
const references = new WeakMap<object, WeakRef<SoHandle>>();

// A program may keep nothing but one bound function; its handle must live as long, to be swapped.
const handleOf = new WeakMap<BoundFunction, object>();

export function* openHandles(): Generator<SoHandle> {
  for (const reference of handles) {
    const handle = reference.deref();
    if (handle !== undefined) yield handle;
  }
}

export function addHandle(handle: object, calls: Iterable<BoundFunction>): void {
  const reference = new WeakRef(handle as SoHandle);
  handles.add(reference);
  references.set(handle, reference);
  forget.register(handle, reference, reference);
  for (const call of calls) keepAlive(call, handle);
}

export function removeHandle(handle: object): void {
  const reference = references.get(handle);
  if (reference === undefined) return;
  handles.delete(reference);
  forget.unregister(reference);
}

export function keepAlive(call: BoundFunction, handle: object): void {
  handleOf.set(call, handle);
}
