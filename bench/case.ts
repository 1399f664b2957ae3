/** What the bench times: a case makes a subject for a device, a subject does the work once per call. */
import type { Device } from '../src/engine/index.ts';
import type { Problem, ProblemData } from './kernels/problem.ts';
import type { Selectable } from './select.ts';

export interface BenchCase extends Selectable {
  /** Cases of a group are measured in turns: A B C A B C … */
  group: string;
  /** What a peer needs to do the same work; undefined for models, which peers read from a file. */
  problem?: Problem;
  /** Loads weights and inputs; compiles nothing yet. */
  open(device: Device): Promise<Subject>;
}

export interface Subject {
  /** Compiles and runs once; resolves when the GPU is done. */
  first(): Promise<void>;
  /**
   * Runs and compares with the truth.
   * @returns the largest error as a fraction of what is tolerated
   * @throws MismatchError above 1
   */
  verify(): Promise<number>;
  /** Submits one run; the caller waits for the device. */
  run(signal?: AbortSignal): Promise<void>;
  /** Time on the GPU of one run, ms, averaged over `runs` in a row; undefined without timestamps. */
  gpuMs?(runs: number): Promise<number>;
  /** Dispatches of one run; known after {@link first}. */
  readonly dispatches: number;
  dispose(): void | Promise<void>;
}

/**
 * Another runtime. It takes part in every group whose problems it knows: opened and checked before anything is timed,
 * then run in turns with ours. It should be at its best settings, with inputs and outputs on the GPU.
 */
export interface Peer {
  name: string;
  version: string;
  /** Undefined where it cannot do this work on this adapter. */
  open(problem: Problem, data: ProblemData, dtype: 'f32' | 'f16'): Promise<PeerSubject | undefined>;
}

export interface PeerSubject {
  /** Prepares and runs once; resolves when done. */
  first(): Promise<void>;
  /** Runs once; resolves when done. */
  run(): Promise<void>;
  /** The result of the last run, row-major, channels last, as the problem says. */
  output(): Promise<Float32Array>;
  dispose(): void | Promise<void>;
}
