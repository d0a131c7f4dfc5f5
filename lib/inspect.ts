import { Candidate, plainSource } from './candidate.js';
import { libraryPath } from './library-path.js';
import type { NativeInspection } from './native.js';
import type { RetainReason } from './report.js';

/** A symbol that a library offers. */
export interface SoExport {
  readonly name: string;
  readonly type: 'function' | 'indirect-function' | 'object' | 'thread-local' | 'none';
  readonly binding: 'global' | 'weak' | 'unique';
  /** Empty if it has none. */
  readonly version: string;
  /** Bytes; 0 where the file does not tell. */
  readonly size: number;
}

/** A symbol that a library asks others for. */
export interface SoImport {
  readonly name: string;
  /** Empty if any will do. */
  readonly version: string;
  /** It may be absent. */
  readonly weak: boolean;
}

/** An object that a library needs, directly or not. */
export interface SoDependency {
  /** As DT_NEEDED has it. */
  readonly name: string;
  /** The file that needs it. */
  readonly neededBy: string;
  /** What the loader would take; `null` if there is nothing. */
  readonly path: string | null;
  /** It is in this process already. */
  readonly loaded?: boolean;
  /** Where it was looked for in vain. */
  readonly lookedIn?: readonly string[];
  /** What is wrong with the file that was found. */
  readonly defect?: string;
}

/** What becomes of an image of a library when it is closed. */
export interface UnloadVerdict {
  /**
   * `clean`: it is unmapped. `stays-mapped`: the loader keeps it. `may-crash`: unmapping it could crash the process, so
   * `unload: 'auto'` leaves it mapped.
   */
  readonly outcome: 'clean' | 'stays-mapped' | 'may-crash';
  readonly reasons: readonly (RetainReason & {
    /** What to build it with, or how to open it, so that this reason goes. */
    readonly cure?: string;
  })[];
}

/** What the file of a library tells. */
export interface SoInfo {
  readonly path: string;
  readonly machine: string;
  readonly soname: string | null;
  /** Hexadecimal digits. */
  readonly buildId: string | null;
  /** Bytes of the file. */
  readonly size: number;
  /** Bytes of address space that an image takes. */
  readonly memorySize: number;
  readonly runpath: string | null;
  readonly rpath: string | null;
  /** DF_1_NODELETE, DF_SYMBOLIC, DF_TEXTREL, DF_BIND_NOW, DF_STATIC_TLS, PT_TLS, and the Go toolchain's marks. */
  readonly flags: readonly string[];
  readonly dependencies: readonly SoDependency[];
  readonly exports: readonly SoExport[];
  readonly imports: readonly SoImport[];
  /** As plain dlopen(3) and dlclose(3) have it. */
  readonly plain: UnloadVerdict;
  /** As a {@link SoHandle} with its default options has it. */
  readonly unload: UnloadVerdict;
}

/**
 * What a library's file tells, and whether an image of it can be unmapped. Nothing is loaded, and no code of it runs.
 *
 * @param path As for {@link SoHandle.open}.
 * @throws {SoError} The file is no library that this process could load.
 */
export function inspect(path: string | URL): SoInfo {
  const source = plainSource(libraryPath(path));
  const candidate = Candidate.take(source);
  try {
    const native = source.library.inspect(candidate.facts.id);
    const { buildId, size, unmapHazards } = candidate.facts;
    const { machine, soname, memorySize, runpath, rpath } = native;
    const { dependencies, exports, imports } = native;
    const hazards = [...unmapHazards, ...native.dependencyHazards];
    return {
      path: source.path,
      machine,
      soname,
      buildId,
      size,
      memorySize,
      runpath,
      rpath,
      flags: flagsOf(native),
      dependencies,
      exports,
      imports,
      plain: verdict(hazards, obstacles(native, true)),
      unload: verdict(hazards, obstacles(native, false)),
    };
  } finally {
    candidate.release();
  }
}

function flagsOf(native: NativeInspection): string[] {
  const flags: [string, boolean][] = [
    ['nodelete', native.noDelete],
    ['symbolic', native.symbolic],
    ['text-relocations', native.textRelocations],
    ['bind-now', native.bindNow],
    ['static-tls', native.staticTls],
    ['tls', native.threadLocalStorage],
    ['go', native.go],
  ];
  return flags.filter(([, set]) => set).map(([name]) => name);
}

type Reasons = UnloadVerdict['reasons'];

function verdict(hazards: readonly RetainReason[], reasons: Reasons): UnloadVerdict {
  const cured = hazards.map((hazard) => ({
    ...hazard,
    cure: "end its threads before each swap, and open it with unload: 'always'",
  }));
  // What the loader keeps in any case cannot crash. The other reasons come to bear when something is used.
  const kept = reasons.some(({ code }) => code === 'nodelete');
  if (kept) return { outcome: 'stays-mapped', reasons: [...reasons, ...cured] };
  if (cured.length > 0) return { outcome: 'may-crash', reasons: [...cured, ...reasons] };
  return { outcome: reasons.length > 0 ? 'stays-mapped' : 'clean', reasons };
}

/** What keeps the loader from unmapping it. */
function obstacles(native: NativeInspection, plain: boolean): Reasons {
  const reasons: Reasons[number][] = [];
  if (native.go) {
    reasons.push({ code: 'nodelete', detail: 'a Go runtime cannot be unmapped' });
  } else if (native.noDelete) {
    const cure = "link it without -z nodelete, or open it with unload: 'always'";
    reasons.push({ code: 'nodelete', detail: 'it is linked with -z nodelete', cure });
  }
  if (plain && native.uniqueSymbols.length > 0) {
    reasons.push({
      code: 'unique-symbol',
      detail: `it has ${native.uniqueSymbols.length} symbol(s) bound as STB_GNU_UNIQUE`,
      cure: 'compile it with -fno-gnu-unique; SoHandle makes them global by itself',
    });
  }
  if (native.threadLocalDestructors) {
    reasons.push({
      code: 'thread-local-destructor',
      detail:
        'a thread_local variable with a destructor, once used, keeps it until the thread ends',
      cure: 'give thread_local variables trivial destructors',
    });
  }
  return reasons;
}
