/** From a recorded graph to a placed list of dispatches: everything that can be known before a GPU is there. */
import type { Capabilities } from './device.ts';
import { byteSize, rootOf, type Graph } from './graph.ts';
import { lowerNodes, type Dispatch } from './lower.ts';
import { planMemory, type MemoryPlan } from './plan.ts';
import { rewriteGraph, type Rewrite } from './rewrite.ts';

/** Which rewrites a graph goes through; by default none. */
export interface PrepareOptions {
  rewrites?: readonly Rewrite[];
  /** Names of rewrites to leave out. */
  rewritesOff?: ReadonlySet<string>;
}

/** What a graph will take; sizes in bytes. */
export interface Report {
  dispatches: number;
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

/** A graph ready to be compiled. */
export interface Prepared {
  dispatches: Dispatch[];
  plan: MemoryPlan;
  report: Report;
}

/**
 * Rewrites, lowers and plans. Needs no device: {@link DEFAULT_CAPABILITIES} plans for what every adapter has.
 * @throws LimitError when a tensor or grid exceeds the limits.
 */
export function prepare(graph: Graph, caps: Capabilities, options: PrepareOptions = {}): Prepared {
  const { nodes, fired } = rewriteGraph(graph, options.rewrites ?? [], options.rewritesOff);
  const dispatches = lowerNodes(graph, nodes, caps);
  const edges = new Set([...graph.inputs.values(), ...graph.outputs.values()].map(rootOf));
  const constants = new Set(graph.constants.values());
  const pinned = new Set([...edges, ...constants].map((t) => t.id));
  const plan = planMemory(dispatches, pinned, caps.limits);
  const sum = (tensors: Iterable<Parameters<typeof byteSize>[0]>) => [...tensors].reduce((s, t) => s + byteSize(t), 0);
  let largestBinding = { bytes: 0, label: '' };
  for (const d of dispatches) {
    for (const t of Object.values(d.bindings)) {
      const bytes = t ? byteSize(rootOf(t)) : 0;
      if (t && bytes > largestBinding.bytes) largestBinding = { bytes, label: rootOf(t).label };
    }
  }
  return {
    dispatches,
    plan,
    report: {
      dispatches: dispatches.length,
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
