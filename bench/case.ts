/** What the bench times: a case makes a subject for a device, a subject does the work once per call. */
import type { Device } from '../src/engine/index.ts';
import type { Problem } from './kernels/problem.ts';
import type { GrowthCase } from './scaling/growth.ts';
import type { Selectable } from './select.ts';

/** The largest error of a result as a fraction of what is tolerated; NaN counts as infinite. */
export type Check = (result: Float32Array) => number | Promise<number>;

export interface BenchCase extends Selectable {
  /** Cases of a group are measured in turns: A B C A B C … */
  group: string;
  /** What a peer needs to do the same work, and what is thought of its result. */
  peerWork?: { work: PeerWork; check: Check };
  /** Of the suite `scaling`. */
  growth?: GrowthCase;
  /** Name of a case of the same group that this one is compared with, turn by turn. */
  against?: string;
  /** Features that its device does without. */
  without?: readonly GPUFeatureName[];
  /** Always computed in the usual ways, whatever measurement would choose. */
  usual?: boolean;
  /**
   * Cases of a group with one name here are on one device, and may share weights; their first runs then mean little.
   */
  sharedDevice?: string;
  /** Gets weights and inputs ready in memory or, where they are files, on the GPU; compiles nothing yet. */
  open(device: Device): Promise<Subject>;
}

export interface Subject {
  /** Brings weights from memory to the GPU, compiles and runs once; resolves when the GPU is done. */
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
  /**
   * Weights, inputs, outputs and activations as planned, where the device holds more than this; known after
   * {@link first}.
   */
  readonly bytes?: number;
  /** What the plan says of memory between the layers; known after {@link first}. */
  readonly activations?: { peakBytes: number; liveBytes: number };
  /** What the host does for a run. */
  readonly host?: HostSide;
  dispose(): void | Promise<void>;
}

export interface HostSide {
  /** Encodes one run and hands nothing in. */
  encode(): Promise<void>;
  /**
   * While `work` lasts (it has to wait until the GPU is done) a submit holds `times` what it usually holds: below 1
   * runs are cut into more pieces, with Infinity each {@link Subject.run} is one submit.
   */
  paced<T>(times: number, work: () => Promise<T>): Promise<T>;
  /** Submits so far. */
  readonly submits: number;
}

/** What a peer is told to do: a problem, which it makes graph and data of itself, or an exported model by its name. */
export type PeerWork = { problem: Problem } | { model: string };

/**
 * Another runtime. It takes part in every case whose work it knows: opened and checked before anything is timed, then
 * run in turns with ours. It should be at its best settings, with weights, inputs and outputs on the GPU.
 */
export interface Peer {
  name: string;
  /** It computes on the processor, whatever the adapter: no competitor on the GPU, but a mark to come near. */
  native?: boolean;
  /** The ways in which it can do this work; the fastest counts. None where it cannot. */
  variants(work: PeerWork, dtype: 'f32' | 'f16'): readonly string[];
  open(work: PeerWork, variant: string, dtype: 'f32' | 'f16'): Promise<PeerSubject>;
}

/** Times are taken where the peer runs, so that the way there and back is not in them. */
export interface PeerSubject {
  readonly version: string;
  /** How it is set up, for people. */
  readonly settings: string;
  /** Whether runs stand behind each other; otherwise it waits for each, and so do we in what it is compared with. */
  readonly pipelined: boolean;
  /** Prepares and runs once. @returns milliseconds */
  first(): Promise<number>;
  /** @returns milliseconds of all runs */
  run(runs: number): Promise<number>;
  /** The result, row-major, as the work says. */
  output(): Promise<Float32Array>;
  dispose(): void | Promise<void>;
}
