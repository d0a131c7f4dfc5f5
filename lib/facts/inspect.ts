import { libraryPath } from '../files/library-path.js';
import { Candidate } from '../image/candidate.js';
import type { RetainReason } from '../image/image-info.js';
import { plainSource } from '../image/source.js';
import { runSync } from '../internal/steps.js';
import type { NativeInspection, SoDependency, SoExport, SoImport } from '../native/types.js';

/** What becomes of an image of a library when it is closed. */
export interface UnloadVerdict {
  /**
   * `clean`: it is unmapped. `stays-mapped`: the loader keeps it. `may-crash`: unmapping it could crash the process, so
   * `unload: 'auto'` leaves it mapped.
   */
  readonly outcome: 'clean' | 'stays-mapped' | 'may-crash';
  /** The same for people: `unmaps cleanly`, `stays mapped because …` or `unmapping may crash because …`. */
  readonly verdict: string;
  /** Why it is not clean, and how to change that; empty if it is. */
  readonly reasons: readonly UnloadReason[];
}

/** Why an image of a library is not just unmapped. */
export interface UnloadReason extends RetainReason {
  /** What comes of this reason by itself. */
  readonly effect: 'stays-mapped' | 'may-crash';
  /** The flag to build it without or with, or the option to open it with, so that this reason goes. */
  readonly cure?: string;
}

/** What the file of a library tells. */
export interface SoInfo {
  /** The absolute path; of a bare name the one that dlopen(3) would take. */
  readonly path: string;
  /** The processor that it is built for: `x86-64` or `AArch64`. */
  readonly machine: string;
  /** DT_SONAME, the name by which other libraries need it; `null` if it has none. */
  readonly soname: string | null;
  /** The linker's build id in hexadecimal digits, `null` if the file has none. */
  readonly buildId: string | null;
  /** Bytes of the file. */
  readonly size: number;
  /** Bytes of address space that an image takes. */
  readonly memorySize: number;
  /** DT_RUNPATH, where its dependencies are looked for; directories with colons between them. `null` without one. */
  readonly runpath: string | null;
  /** DT_RPATH, the older form of it. */
  readonly rpath: string | null;
  /**
   * What is set: `nodelete` (DF_1_NODELETE), `symbolic` (DF_SYMBOLIC), `text-relocations` (DF_TEXTREL), `bind-now`
   * (DF_BIND_NOW), `static-tls` (DF_STATIC_TLS), `tls` (PT_TLS: it has `thread_local` variables), `go` (the Go toolchain
   * made it).
   */
  readonly flags: readonly string[];
  /** All that would be loaded with it, those of dependencies too. */
  readonly dependencies: readonly SoDependency[];
  /** What it defines for others. */
  readonly exports: readonly SoExport[];
  /** What others must define for it. */
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
 * @returns What was found, at one moment: from one copy of the file.
 * @throws {SoError} The file is no library that this process could load, with the same codes as for {@link SoHandle.open}.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`: `path` is not one.
 *
 * @example
 * const { exports, unload } = inspect('./libprice.so');
 * console.log(exports.map(({ name }) => name)); // [ 'quote' ]
 * console.log(unload.outcome); // clean
 */
export function inspect(path: string | URL): SoInfo {
  const source = plainSource(libraryPath(path));
  const candidate = runSync(Candidate.take(source));
  try {
    const native = source.library.inspect(candidate.facts.id);
    const { buildId, size, unmapHazards } = candidate.facts;
    const { machine, soname, memorySize, runpath, rpath } = native;
    const { dependencies, exports, imports } = native;
    const hazards = hazardsOf(native, unmapHazards);
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
      plain: verdictOf(hazards, obstacles(native, true)),
      unload: verdictOf(hazards, obstacles(native, false)),
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

type Reason = UnloadVerdict['reasons'][number];

const words: Readonly<Record<UnloadVerdict['outcome'], string>> = {
  clean: 'unmaps cleanly',
  'stays-mapped': 'stays mapped',
  'may-crash': 'unmapping may crash',
};

function verdictOf(hazards: readonly Reason[], obstacles: readonly Reason[]): UnloadVerdict {
  // What the loader keeps in any case cannot crash. The other obstacles come to bear when something is used.
  const kept = obstacles.some(({ code }) => code === 'nodelete');
  const reasons = kept ? [...obstacles, ...hazards] : [...hazards, ...obstacles];
  const [first] = reasons;
  if (first === undefined) return { outcome: 'clean', verdict: words.clean, reasons };
  const verdict = reasons.map(({ effect, detail }) => `${words[effect]} because ${detail}`);
  return { outcome: first.effect, verdict: verdict.join('; '), reasons };
}

/** Why unmapping it could crash the process. */
function hazardsOf(native: NativeInspection, own: readonly RetainReason[]): Reason[] {
  const effect = 'may-crash';
  const cure = "end its threads before each swap, and open it with unload: 'always'";
  return [...own, ...native.dependencyHazards].map((hazard) =>
    native.go ? { ...hazard, effect } : { ...hazard, effect, cure },
  );
}

/** What keeps the loader from unmapping it. */
function obstacles(native: NativeInspection, plain: boolean): Reason[] {
  const effect = 'stays-mapped';
  const reasons: Reason[] = [];
  if (native.go) {
    reasons.push({ code: 'nodelete', detail: 'a Go runtime cannot be unmapped', effect });
  } else if (native.noDelete) {
    const cure = "link it without -z nodelete, or open it with unload: 'always'";
    reasons.push({ code: 'nodelete', detail: 'it is linked with -z nodelete', effect, cure });
  }
  if (plain && native.uniqueSymbols.length > 0) {
    const count = native.uniqueSymbols.length;
    reasons.push({
      code: 'unique-symbol',
      detail: `the loader keeps what has STB_GNU_UNIQUE symbols, once they are bound; it has ${count}`,
      effect,
      cure: 'compile it with -fno-gnu-unique; SoHandle makes them global by itself',
    });
  }
  if (native.threadLocalDestructors) {
    reasons.push({
      code: 'thread-local-destructor',
      detail:
        'a thread_local variable with a destructor, once used, keeps it until the thread ends',
      effect,
      cure: 'give thread_local variables trivial destructors',
    });
  }
  return reasons;
}
