import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';

/** What the figures were made on. */
export interface Machine {
  readonly processor: string;
  readonly processors: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  /** `null` where the C library is another one. */
  readonly glibc: string | null;
  readonly node: string;
  readonly architecture: string;
  /** Processes that wanted to run, on average of the last minute, when it began. */
  readonly load: number;
  readonly date: string;
}

export function thisMachine(): Machine {
  const report = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    processors: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    glibc: report.header.glibcVersionRuntime ?? null,
    node: process.version,
    architecture: process.arch,
    load: loadavg()[0]!,
    date: new Date().toISOString().slice(0, 10),
  };
}

/** In one line. */
export function describe(machine: Machine): string {
  const { processor, processors, kernel, glibc, node, architecture, load } = machine;
  const library = glibc === null ? '' : `, glibc ${glibc}`;
  return (
    `${processors} × ${processor} (${architecture}), Linux ${kernel}${library}, Node.js ${node}, ` +
    `load ${load.toFixed(1)}`
  );
}
