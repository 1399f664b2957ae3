/** What a run of the bench writes down. Times in milliseconds, sizes in bytes, rates in 10⁹ per second. */
import { FormatError } from '../src/engine/errors.ts';
import type { Offers } from './offers.ts';
import type { Roofline, Standing } from './roofline/roofline.ts';
import type { GrowthCase } from './scaling/growth.ts';
import type { PairedRatio } from './statistics.ts';

export const SUITES = ['kernels', 'models', 'scaling', 'rewrites', 'candidates'] as const;
export type Suite = (typeof SUITES)[number];

/** Another runtime on the same work, the same adapter and the same data, in the same run. */
export interface PeerResult {
  name: string;
  version: string;
  /** Which of its ways of doing this work was the fastest, and how it was set up. */
  variant: string;
  settings: string;
  /** It computed on the processor, not on the adapter. */
  native: boolean;
  /** Median wall time of a run. */
  ms: number;
  spread: number;
  /** Preparing and the first run. */
  firstMs: number;
  /** The peer's ms over ours, each run awaited where the peer waits: above 1 we are faster. */
  ratio: number;
  /** Largest error as a fraction of what is tolerated of us; a peer above 1 is reported, not refused. */
  maxError: number;
  /** Its other ways, which were slower when warm. */
  others: { variant: string; ms: number; firstMs: number }[];
}

/** One of several ways of computing a shape. */
export interface Candidate {
  /** Name of the shape's case in the suite `kernels`. */
  of: string;
  way: string;
  /** `usual` is taken where nothing was measured, `tried` by the tuner beside it, `untried` never. */
  role: 'usual' | 'tried' | 'untried';
}

export interface BenchResult {
  suite: Suite;
  /** `group/what-shape`. */
  name: string;
  dtype: 'f32' | 'f16';
  /** Median wall time of a run, from submit to done; several runs stand behind each other where one is short. */
  ms: number;
  /** The fastest, and the distance between the quartiles as a fraction of the median. */
  minMs: number;
  spread: number;
  /** The same, each run awaited before the next; only where a peer works so and `ms` is of several runs. */
  awaitedMs: number | null;
  /** Median time between the first and the last timestamp of a run; null where the adapter has no timestamps. */
  gpuMs: number | null;
  /**
   * Weights from memory to the GPU, compilation, allocation and the first run on a fresh device; shared in `rewrites`.
   */
  firstMs: number;
  /** Of the arithmetic that the formula needs, whatever the kernel does; null for work that memory bounds. */
  gflops: number | null;
  /** Inputs, weights and outputs once each; null for whole models. */
  gbps: number | null;
  /** The least time under the adapter's roof, and what part of it was reached; null where no work is counted. */
  roof: Standing | null;
  /**
   * Everything that the work held on the GPU: weights, inputs, outputs, activations, parameters; as planned in
   * `rewrites`.
   */
  peakBytes: number;
  dispatches: number;
  /** Memory between the layers as planned, and the largest set that lives at once; null for a whole pipeline. */
  activations: { peakBytes: number; liveBytes: number } | null;
  /** Of models alone. */
  host?: HostResult;
  /** Times measured, and runs in each. */
  reps: number;
  runsPerRep: number;
  /** Largest error found before timing, as a fraction of what is tolerated. */
  maxError: number;
  peers: PeerResult[];
  /** Of reports put together: the commit that this case is of. */
  commit?: string;
  /** Of the suite `scaling`: which curve this is a point of. */
  growth?: GrowthCase;
  /** Of the suite `candidates`: what this is one way of computing. */
  candidate?: Candidate;
  /** Of the suites `rewrites` and `candidates`: this case's time over that of the one named, each pair of one turn. */
  gain?: PairedRatio & { against: string };
}

/** What the host does for a run, and what it costs to hand work in by pieces that keep a page alive. */
export interface HostResult {
  /** Median time to encode a run. */
  encodeMs: number;
  /** Median time of a run in one submit, and of one in bounded submits right beside it. */
  oneSubmitMs: number;
  boundedMs: number;
  /** Submits of a bounded run, median: where it is 1, the two are the same and their ratio shows the noise. */
  submits: number;
  /** Bounded over one submit. */
  boundCost: PairedRatio;
  /** What each further submit adds, ms, from runs cut into pieces a quarter as long; null where that makes one. */
  submitMs: { ms: number; low: number | null; high: number | null; submits: number } | null;
}

/** A case that could not be measured; a wrong result is one. */
export interface BenchFailure {
  suite: Suite;
  name: string;
  dtype: 'f32' | 'f16';
  message: string;
}

/** Reports of before may lack what the adapter offers. */
export interface BenchReport extends Partial<Offers> {
  /** Short hash, with `+` where files were changed since. */
  commit: string;
  /** Where it ran. */
  host: 'node' | 'chromium';
  adapter: string;
  /** ISO 8601. */
  date: string;
  /** Interrupted: what is missing was not measured. */
  stopped?: boolean;
  /** Whether ways of computing were chosen by measurement before they were timed; first runs never are. */
  tuned?: boolean;
  /** What the adapter was measured to do at best. */
  roofline?: Roofline;
  results: BenchResult[];
  failures: BenchFailure[];
}

const NUMBERS = ['ms', 'spread', 'firstMs', 'peakBytes', 'dispatches'] as const;

/**
 * A report from its JSON text, checked as far as a comparison reads it.
 * @param where what messages call the text
 * @throws FormatError naming the field that is not what a report has
 */
export function readReport(text: string, where: string): BenchReport {
  let report: Partial<BenchReport> | null;
  try {
    report = JSON.parse(text) as Partial<BenchReport> | null;
  } catch (cause) {
    throw new FormatError(`${where}: expected a report written with --json, got text that is not JSON`, { cause });
  }
  const refuse = (field: string, expected: string): never => {
    throw new FormatError(`${where}: expected ${field} to be ${expected}; write it with npm run bench -- --json FILE`);
  };
  if (typeof report !== 'object' || report === null || Array.isArray(report)) return refuse('a report', 'an object');
  for (const field of ['commit', 'adapter', 'host'] as const) {
    if (typeof report[field] !== 'string') refuse(field, 'a text');
  }
  if (!Array.isArray(report.results)) refuse('results', 'a list');
  report.results!.forEach((result, i) => {
    for (const field of ['suite', 'name', 'dtype'] as const) {
      if (typeof result?.[field] !== 'string') refuse(`results[${i}].${field}`, 'a text');
    }
    for (const field of NUMBERS) {
      if (!Number.isFinite(result[field])) refuse(`results[${i}].${field}`, 'a number');
    }
  });
  return { failures: [], date: '', ...report } as BenchReport;
}
