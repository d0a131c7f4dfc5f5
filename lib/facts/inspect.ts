import { libraryPath } from '../files/library-path.js';
import { assertResolved, Candidate } from '../image/candidate.js';
import type { RetainReason } from '../image/image-info.js';
import { plainSource } from '../image/source.js';
import { SoError, type SoErrorCode } from '../internal/errors.js';
import { runSync } from '../internal/steps.js';
import type {
  NativeInspection,
  ProgramNames,
  SoDependency,
  SoExport,
  SoImport,
} from '../native/types.js';
import { registriesOf, type SoRegistry } from './registries.js';

/** The fate of an image of a library when it is closed. */
export interface UnloadVerdict {
  /**
   * - `clean`: the image is unmapped, at once or when threads of the library and of its dependencies have ended
   * - `stays-mapped`: the loader keeps the image mapped
   * - `may-crash`: unmapping the image could crash the process; `unload: 'auto'` retains it
   * - `refused`: {@link SoHandle.open} refuses the library, see {@link SoInfo.refusal}
   */
  readonly outcome: 'clean' | 'stays-mapped' | 'may-crash' | 'refused';
  /**
   * The outcome and its reasons as text: `unmaps cleanly`, `unmaps when its threads have ended`, `stays mapped because …`,
   * `unmapping may crash because …` or `cannot load …`.
   */
  readonly verdict: string;
  /** The reasons why an image is not unmapped, with their cures; empty if it is, or if the library is refused. */
  readonly reasons: readonly UnloadReason[];
}

/** A reason why an image of a library is not unmapped, or not safely. */
export interface UnloadReason extends RetainReason {
  /** The outcome that this reason alone has. */
  readonly effect: 'stays-mapped' | 'may-crash';
  /** A compiler or linker flag, or an option of `SoHandle.open()`, that removes this reason. */
  readonly cure?: string;
}

/** An error that opening a library has; see {@link SoError}. */
export interface SoRefusal {
  /** The code of the error. */
  readonly code: SoErrorCode;
  /** Its message. */
  readonly message: string;
  /** The first symbol that nothing defines. */
  readonly symbol?: string;
}

/** The properties of a library file. */
export interface SoInfo {
  /** The absolute path. For a bare name, the file that dlopen(3) finds. */
  readonly path: string;
  /** The processor that the library is built for: `x86-64` or `AArch64`. */
  readonly machine: string;
  /** DT_SONAME, the name by which other libraries depend on this one; `null` if it has none. */
  readonly soname: string | null;
  /** The build id of the linker in hexadecimal digits; `null` if the file has none. */
  readonly buildId: string | null;
  /** The size of the file in bytes. */
  readonly size: number;
  /** The address space of an image in bytes. */
  readonly memorySize: number;
  /** DT_RUNPATH, the directories that the loader searches for dependencies, separated by colons; `null` if absent. */
  readonly runpath: string | null;
  /** DT_RPATH, the older form of DT_RUNPATH; `null` if absent. */
  readonly rpath: string | null;
  /**
   * The flags of the library, named as in elf(5).
   *
   * - `nodelete`: DF_1_NODELETE
   * - `symbolic`: DF_SYMBOLIC
   * - `text-relocations`: DF_TEXTREL
   * - `bind-now`: DF_BIND_NOW
   * - `static-tls`: DF_STATIC_TLS
   * - `tls`: PT_TLS; the library has `thread_local` variables
   * - `go`: the Go toolchain built the library
   */
  readonly flags: readonly string[];
  /** All direct and indirect dependencies. */
  readonly dependencies: readonly SoDependency[];
  /** The symbols that the library defines for others. */
  readonly exports: readonly SoExport[];
  /** The symbols that the library needs from others. */
  readonly imports: readonly SoImport[];
  /** The hooks of soswap.h that the library exports: `soswap_load`, say. */
  readonly hooks: readonly string[];
  /** The variables that it keeps with SOSWAP_KEEP. */
  readonly keeps: readonly string[];
  /**
   * The registries of other shared libraries that the library registers itself in when it is loaded. A swap can end the
   * process there; `docs/registries.md` says why. Found by the imports of the library; that of Protocol Buffers is known.
   */
  readonly registries: readonly SoRegistry[];
  /** The names that the program exports too. */
  readonly programNames: ProgramNames;
  /**
   * The symbol that makes the library an addon of Node.js, which `require()` loads and never unloads: it exports
   * `napi_register_module_v1` or `node_register_module_v…`, or imports `napi_module_register` or `node_module_register`.
   * `null` for every other library.
   */
  readonly addonSymbol: string | null;
  /**
   * The error of {@link SoHandle.open} with default options, for a missing dependency, an undefined symbol or a replaced
   * dependency; `null` if the library is accepted. The constructors of the library may fail all the same.
   */
  readonly refusal: SoRefusal | null;
  /** The fate of an image that dlopen(3) loads and dlclose(3) closes. */
  readonly plain: UnloadVerdict;
  /** The fate of an image that a {@link SoHandle} with default options loads and closes. */
  readonly unload: UnloadVerdict;
}

/**
 * Reads the properties of a library file, and determines whether an image of the library can be unmapped. Does not load
 * the library, so that none of its code runs. Holds this thread while it copies the file.
 *
 * @param path A path, a `file:` URL, or a bare name that dlopen(3) searches for.
 * @returns The properties, all from one snapshot of the file.
 * @throws {SoError} This process cannot load the file. The codes are those of {@link SoHandle.open}.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`: `path` is not a path.
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
    const { dependencies, exports, imports, programNames, addonSymbol } = native;
    const refusal = refusalOf(source.path, native);
    const isOfCLibrary = candidate.facts.cLibrary === 'own';
    const hazards = (...all: (readonly RetainReason[])[]) =>
      isOfCLibrary ? [] : hazardsOf(native, all.flat());
    const obstaclesTo = (plain: boolean) =>
      isOfCLibrary ? [usedByProcess] : obstacles(native, plain);
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
      ...lifeOf(exports),
      registries: isOfCLibrary ? [] : registriesOf(imports),
      programNames,
      addonSymbol,
      refusal,
      plain: verdictOf(hazards(unmapHazards, native.dependencyHazards), obstaclesTo(true)),
      unload:
        refusal === null
          ? verdictOf(
              hazards(native.untrackedHazards, native.unseenDependencyHazards),
              obstaclesTo(false),
              native.tracked || native.dependencyHazards.length > 0,
            )
          : { outcome: 'refused', verdict: refusal.message, reasons: [] },
    };
  } finally {
    candidate.release();
  }
}

/** What of native/include/soswap.h the library uses. */
function lifeOf(exports: readonly SoExport[]): Pick<SoInfo, 'hooks' | 'keeps'> {
  const names = exports.map(({ name }) => name);
  return {
    hooks: ['soswap_save', 'soswap_load', 'soswap_unload'].filter((name) => names.includes(name)),
    keeps: names
      .filter((name) => name.startsWith('soswap_keep_'))
      .map((name) => name.slice('soswap_keep_'.length))
      .sort(),
  };
}

function refusalOf(
  path: string,
  { missingDependency, resolution }: NativeInspection,
): SoRefusal | null {
  try {
    if (missingDependency !== null) throw missingDependency;
    if (resolution !== null) assertResolved(path, resolution);
    return null;
  } catch (error) {
    if (!(error instanceof SoError)) throw error;
    const { code, message, symbol } = error;
    return symbol === undefined ? { code, message } : { code, message, symbol };
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

const outcomeTexts: Readonly<Record<Exclude<UnloadVerdict['outcome'], 'refused'>, string>> = {
  clean: 'unmaps cleanly',
  'stays-mapped': 'stays mapped',
  'may-crash': 'unmapping may crash',
};

/** @param tracked Whether soswap sees when the threads of the library, or of its dependencies, have ended. */
function verdictOf(
  hazards: readonly Reason[],
  obstacles: readonly Reason[],
  tracked = false,
): UnloadVerdict {
  // An image that the loader always keeps cannot crash. The other obstacles have an effect only if code uses a feature.
  const kept = obstacles.some(({ code }) => code === 'nodelete');
  const reasons = kept ? [...obstacles, ...hazards] : [...hazards, ...obstacles];
  const [first] = reasons;
  if (first === undefined) {
    const verdict = tracked ? 'unmaps when its threads have ended' : outcomeTexts.clean;
    return { outcome: 'clean', verdict, reasons };
  }
  const verdict = reasons.map(({ effect, detail }) => `${outcomeTexts[effect]} because ${detail}`);
  return { outcome: first.effect, verdict: verdict.join('; '), reasons };
}

/** The reason why a part of the C library of this process stays mapped. */
const usedByProcess: Reason = {
  code: 'c-library',
  detail: 'it is part of the C library, which the process itself uses',
  effect: 'stays-mapped',
};

/** Returns the reasons why unmapping an image could crash the process. */
function hazardsOf(native: NativeInspection, hazards: readonly RetainReason[]): Reason[] {
  const effect = 'may-crash';
  const cure = "end the threads of the library before each swap, and open it with unload: 'always'";
  return hazards.map((hazard) => (native.go ? { ...hazard, effect } : { ...hazard, effect, cure }));
}

/** Returns the reasons why the loader keeps an image mapped: with dlclose(3) if `plain`, otherwise with a SoHandle. */
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
      detail: `it has ${count} STB_GNU_UNIQUE symbol(s), and the loader keeps a library once one of them is bound`,
      effect,
      cure: 'compile it with -fno-gnu-unique; SoHandle needs no cure, because it makes the symbols global',
    });
  }
  if (!plain) {
    const cure = 'link the dependency with -Wl,-Bsymbolic';
    reasons.push(
      ...native.bindingDependencies.map((reason) => ({ ...reason, effect, cure }) as const),
    );
  }
  if (plain ? native.threadLocalDestructors : native.untrackedDestructors) {
    reasons.push({
      code: 'thread-local-destructor',
      detail:
        'a thread that uses a thread_local variable with a destructor keeps it until the thread ends',
      effect,
      cure: 'give thread_local variables trivial destructors',
    });
  }
  return reasons;
}
