/** From a recorded graph to a placed list of dispatches: everything that can be known before a GPU is there. */
import type { Capabilities } from './device.ts';
import { byteSize, rootOf, type Graph, type Tensor } from './graph.ts';
import { lowerNodes, type Choices, type Dispatch } from './lower.ts';
import { layOut } from './memory.ts';
import type { MemoryPlan } from './plan.ts';
import { rewriteGraph, type Rewrite } from './rewrite.ts';
import { shareShaders } from './sharedShaders.ts';

/** Which rewrites a graph goes through; by default none. */
export interface PrepareOptions {
  rewrites?: readonly Rewrite[];
  /** Names of rewrites to leave out. */
  rewritesOff?: ReadonlySet<string>;
  /** What measurement has found to be fastest; by default the usual ways are taken. */
  choices?: Choices;
}

/** What a graph will take; sizes in bytes. */
export interface Report {
  dispatches: number;
  /** How many of them each kernel has. */
  kernels: Record<string, number>;
  /** Arenas of transient tensors, and the least that any plan would need. */
  peakBytes: number;
  liveBytes: number;
  weightBytes: number;
  /** Inputs and outputs. */
  edgeBytes: number;
  /** The binding that decides whether an adapter can run it. */
  largestBinding: { bytes: number; label: string };
  /** Multiply–adds × 2. */
  flops: number;
  /** How often each rewrite fired. */
  rewrites: Record<string, number>;
}

/** Of nothing at all. */
export const EMPTY_REPORT: Report = {
  dispatches: 0,
  kernels: {},
  peakBytes: 0,
  liveBytes: 0,
  weightBytes: 0,
  edgeBytes: 0,
  largestBinding: { bytes: 0, label: '' },
  flops: 0,
  rewrites: {},
};

/** A graph ready to be compiled. */
export interface Prepared {
  dispatches: Dispatch[];
  /** The weights that they bind. */
  constants: ReadonlySet<Tensor>;
  plan: MemoryPlan;
  report: Report;
}

/**
 * Rewrites, lowers and plans. Needs no device: {@link DEFAULT_CAPABILITIES} plans for what every adapter has.
 * @throws LimitError when a tensor or grid exceeds the limits.
 */
export function prepare(graph: Graph, caps: Capabilities, options: PrepareOptions = {}): Prepared {
  const { nodes, fired } = rewritten(graph, caps, options);
  const lowered = lowerNodes(graph, nodes, caps, options);
  const edges = new Set([...graph.inputs.values(), ...graph.outputs.values()].map(rootOf));
  const constants = constantsOf(lowered);
  const pinned = new Set([...edges, ...constants].map((t) => t.id));
  const { dispatches: placed, plan } = layOut(lowered, pinned, caps);
  const dispatches = shareShaders(placed);
  const sum = (tensors: Iterable<Parameters<typeof byteSize>[0]>) => [...tensors].reduce((s, t) => s + byteSize(t), 0);
  let largestBinding = { bytes: 0, label: '' };
  const kernels: Record<string, number> = {};
  for (const d of dispatches) {
    kernels[d.kernel.name] = (kernels[d.kernel.name] ?? 0) + 1;
    for (const t of Object.values(d.bindings)) {
      const bytes = t ? byteSize(rootOf(t)) : 0;
      if (t && bytes > largestBinding.bytes) largestBinding = { bytes, label: rootOf(t).label };
    }
  }
  return {
    dispatches,
    constants,
    plan,
    report: {
      dispatches: dispatches.length,
      kernels,
      peakBytes: plan.peakBytes,
      liveBytes: plan.liveBytes,
      weightBytes: sum(constants),
      edgeBytes: sum(edges),
      largestBinding,
      flops: dispatches.reduce((s, d) => s + d.flops, 0),
      rewrites: fired,
    },
  };
}

/** The weights that a graph's dispatches will bind. @throws LimitError as {@link prepare} does. */
export function boundConstants(graph: Graph, caps: Capabilities, options: PrepareOptions = {}): Set<Tensor> {
  return constantsOf(lowerNodes(graph, rewritten(graph, caps, options).nodes, caps, options));
}

type Rewritten = ReturnType<typeof rewriteGraph>;

const REWRITTEN = new WeakMap<Graph, Map<string, Rewritten>>();

/**
 * A graph after its rewrites. Loading weights, tuning and compiling each ask for it: rewriting is done once, and again
 * only when the graph has grown.
 */
export function rewritten(graph: Graph, caps: Capabilities, { rewrites = [], rewritesOff }: PrepareOptions): Rewritten {
  const names = [...(rewritesOff ?? [])].sort().join();
  const size = `${graph.nodes.length} ${graph.outputs.size}`;
  const key = `${size} ${rewrites.map((r) => r.name).join()} ${names} ${JSON.stringify(caps.limits)}`;
  const known = REWRITTEN.get(graph) ?? new Map<string, Rewritten>();
  REWRITTEN.set(graph, known);
  const result = known.get(key) ?? rewriteGraph(graph, rewrites, rewritesOff, caps.limits.maxStorageBufferBindingSize);
  known.set(key, result);
  return result;
}

/** The weights that dispatches bind. */
function constantsOf(dispatches: readonly Dispatch[]): Set<Tensor> {
  const found = new Set<Tensor>();
  for (const d of dispatches) {
    for (const t of Object.values(d.bindings)) if (t && rootOf(t).constant) found.add(rootOf(t));
  }
  return found;
}
