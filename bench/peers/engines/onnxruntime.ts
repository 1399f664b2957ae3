/**
 * onnxruntime as a peer, in Node and in a page. It is given the module, which the two hosts import in their own ways.
 */
import { count, problemData, type Problem } from '../../kernels/problem.ts';
import { encodeOnnx } from '../onnx/model.ts';
import { problemGraph, wholeShape, type Variant } from '../onnx/problems.ts';
import { PeerError, type Engine, type EngineWork, type Job } from '../protocol.ts';

/** As much of onnxruntime's types as is used; the package is not installed with the project. */
interface OrtTensor {
  readonly data: Float32Array;
  getData(): Promise<Float32Array>;
  dispose(): void;
}
interface OrtSession {
  outputNames: readonly string[];
  run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
}
export interface Ort {
  InferenceSession: { create(model: string | Uint8Array, options: object): Promise<OrtSession> };
  Tensor: new (type: string, data: BigInt64Array, shape: readonly number[]) => OrtTensor;
}

/** A graph as a session is made from it. */
export interface SessionGraph {
  /** Bytes, or the name of a file. */
  model: string | Uint8Array;
  /** Files beside a model in a page. */
  externalData?: readonly { path: string; data: Uint8Array }[];
}

export interface OrtHost {
  ort: Ort;
  version: string;
  /** Waits until the GPU is done; where there is no such call, every run reads a little back instead. */
  idle?(): Promise<void>;
  /** A model's graph with weights, as its exporter wrote it. */
  modelGraph(name: string, variant: Variant): Promise<SessionGraph>;
}

/** What a variant is: which graph, which layout onnxruntime prefers inside, and whether its dispatches are recorded. */
interface Way {
  graph: Variant;
  layout: 'NHWC' | 'NCHW';
  captured: boolean;
}
const CHANNELS_FIRST = ', channels first';
const CAPTURED = ', captured';

function wayOf(variant: string): Way {
  const captured = variant.endsWith(CAPTURED);
  const plain = captured ? variant.slice(0, -CAPTURED.length) : variant;
  const first = plain.endsWith(CHANNELS_FIRST);
  const graph = (first ? plain.slice(0, -CHANNELS_FIRST.length) : plain) as Variant;
  return { graph, layout: first ? 'NCHW' : 'NHWC', captured };
}

/** The graph that a variant is of. */
export const graphOf = (variant: string): Variant => wayOf(variant).graph;

/** Each of some variants as it is, and with its dispatches recorded once and replayed. */
export const withCapture = (variants: readonly string[]): readonly string[] =>
  variants.flatMap((variant) => [variant, variant + CAPTURED]);

/** Which variants are tried of a model. */
export const MODEL_VARIANTS = ['exported', 'fused', `exported${CHANNELS_FIRST}`] as const;

/** Which variants are tried of a problem. */
export function variantsOf(problem: Problem): readonly string[] {
  switch (problem.op) {
    case 'conv2d':
      return ['exported', `exported${CHANNELS_FIRST}`];
    case 'groupNorm':
      return ['exported', 'fused', `fused${CHANNELS_FIRST}`];
    case 'layerNorm':
      return ['exported'];
    case 'elementwise':
      return problem.kind === 'silu' ? ['exported', 'fused'] : ['exported'];
    default:
      return ['exported', 'fused'];
  }
}

/** What is fed and read: one value where time counts, everything where the result is wanted. */
interface Feeds {
  timed: Record<string, OrtTensor>;
  whole: Record<string, OrtTensor>;
  /** To the layout of the work. */
  output(values: Float32Array): Float32Array;
}

export function onnxruntimeEngine(host: OrtHost): Engine {
  return {
    async open(job) {
      const way = wayOf(job.variant);
      const { graph, feeds } = await prepare(host, job, way.graph);
      return new OrtWork(host, job, graph, feeds, way);
    },
  };
}

async function prepare(host: OrtHost, { work, dtype }: Job, variant: Variant) {
  if ('model' in work) {
    const feeds: Feeds = { timed: {}, whole: {}, output: (values) => values };
    return { graph: await host.modelGraph(work.model, variant), feeds };
  }
  const probe = host.idle === undefined;
  const built = problemGraph(work.problem, problemData(work.problem, dtype), variant, { probe });
  if (!built) throw new PeerError(`onnxruntime: expected a problem with a ${variant} form, got ${work.problem.op}`);
  const shape = wholeShape(work.problem);
  const graph: SessionGraph = { model: encodeOnnx(built.model) };
  if (!probe) return { graph, feeds: { timed: {}, whole: {}, output: built.output } };
  const ends = (values: readonly number[]) => ({
    ends: new host.ort.Tensor(
      'int64',
      BigInt64Array.from(values, (v) => BigInt(v)),
      [values.length],
    ),
  });
  const feeds: Feeds = { timed: ends(shape.map(() => 1)), whole: ends(shape), output: built.output };
  return { graph, feeds };
}

class OrtWork implements EngineWork {
  readonly version: string;
  readonly settings: string;
  readonly pipelined: boolean;
  private session: OrtSession | undefined;

  constructor(
    private readonly host: OrtHost,
    private readonly job: Job,
    private readonly graph: SessionGraph,
    private readonly feeds: Feeds,
    private readonly way: Way,
  ) {
    this.version = host.version;
    this.pipelined = host.idle !== undefined && job.provider !== 'cpu';
    this.settings = [`${way.graph} graph (opset 17)`, 'all graph optimisations', ...this.place()].join('; ');
  }

  /** Where it computes, and what stays there. */
  private place(): string[] {
    const { job, way, pipelined } = this;
    if (job.provider === 'cpu') return ['CPU provider, 2 threads', 'inputs and weights in memory, the result too'];
    const readBack = 'model' in job.work ? 'result read back' : 'one value read back';
    return [
      `WebGPU provider, ${way.layout} inside`,
      'no validation',
      way.captured ? 'graph captured' : 'graph not captured',
      'inputs and weights on the device',
      pipelined ? 'result stays on the device' : readBack,
    ];
  }

  async first(): Promise<number> {
    const start = performance.now();
    const { provider = 'webgpu' } = this.job;
    this.session = await this.host.ort.InferenceSession.create(this.graph.model, {
      executionProviders: [
        provider === 'webgpu'
          ? { name: 'webgpu', preferredLayout: this.way.layout, validationMode: 'disabled' }
          : provider,
      ],
      graphOptimizationLevel: 'all',
      logSeverityLevel: 3,
      ...(provider === 'cpu' && { intraOpNumThreads: 2 }),
      ...(this.way.captured && { enableGraphCapture: true }),
      ...(this.pipelined && { preferredOutputLocation: 'gpu-buffer' }),
      ...(this.graph.externalData && { externalData: this.graph.externalData }),
    });
    await this.run(1);
    return performance.now() - start;
  }

  async run(runs: number): Promise<number> {
    const start = performance.now();
    for (let i = 0; i < runs; i++) {
      const outputs = await this.session!.run(this.feeds.timed);
      for (const output of Object.values(outputs)) output.dispose();
    }
    await this.host.idle?.();
    return performance.now() - start;
  }

  async output(): Promise<Float32Array> {
    const outputs = await this.session!.run(this.feeds.whole);
    const output = outputs[this.session!.outputNames[0]];
    const values = Float32Array.from(this.pipelined ? await output.getData() : output.data);
    output.dispose();
    const { work } = this.job;
    if ('problem' in work && values.length !== count(wholeShape(work.problem))) {
      throw new PeerError(`onnxruntime: expected ${count(wholeShape(work.problem))} values, got ${values.length}`);
    }
    return this.feeds.output(values);
  }
}
