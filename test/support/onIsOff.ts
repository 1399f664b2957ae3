/** A graph rewritten must give what it gives as it was recorded. */
import { expect } from 'vitest';
import { Graph, numel, rewriteGraph, type Rewrite, type Tensor } from '../../src/engine/index.ts';
import * as kernels from '../../src/kernels/rewrites.ts';
import { dotTolerance, expectClose } from './close.ts';
import { normals, roundTo } from './random.ts';
import { openDevice, runGraph } from './runGraph.ts';

/** Declares inputs, records, returns results. */
export type Recording = (g: Graph) => readonly Tensor[];

/** What the results of one recording came to, on against off. */
export interface Rewritten {
  fired: Record<string, number>;
  /** Dispatches without rewrites, and with them. */
  off: number;
  on: number;
  /** What it ran on, and with rewrites came to. */
  inputs: Record<string, Float32Array | Uint32Array>;
  weights: Record<string, Float32Array>;
  outputs: Record<string, Float32Array>;
}

const seedOf = (name: string) => [...name].reduce((s, ch) => (31 * s + ch.charCodeAt(0)) % 65521, 7);

/**
 * Runs the recording with all rewrites, or those given, and with none, on inputs and weights drawn from their names.
 * @param length Of the longest chain of sums, for the tolerance.
 */
export async function onIsOff(
  adapter: string,
  build: Recording,
  what: string,
  {
    dtype = 'f32',
    length = 500,
    rewrites = kernels.rewrites,
  }: { dtype?: 'f32' | 'f16'; length?: number; rewrites?: readonly Rewrite[] } = {},
): Promise<Rewritten> {
  const device = await openDevice(adapter);
  const record = () => {
    const g = new Graph(dtype);
    build(g).forEach((t, i) => g.output(`y${i}`, t));
    return g;
  };
  const sample = record();
  const inputs: Record<string, Float32Array | Uint32Array> = {};
  for (const [name, t] of sample.inputs) {
    const size = numel(t.shape);
    inputs[name] =
      t.dtype === 'u32'
        ? Uint32Array.from({ length: size }, (_, i) => i % 3)
        : roundTo(dtype, normals(seedOf(name), size));
  }
  const weights: Record<string, Float32Array> = {};
  for (const t of sample.constants.values()) {
    const { key, shape } = t.constant!;
    const size = numel(shape);
    weights[key] = normals(seedOf(key), size, { std: shape.length > 1 ? 1 / Math.sqrt(size / shape[0]) : 1 });
  }
  const off = await runGraph(device, record(), { inputs, weights });
  const on = await runGraph(device, record(), { inputs, weights, rewrites });
  for (const [name, want] of Object.entries(off.outputs)) {
    const largest = want.reduce((a, v) => Math.max(a, Math.abs(v)), 1);
    expectClose(on.outputs[name], want, dotTolerance(dtype, length, largest), `${what} ${name}`);
  }
  const { fired } = rewriteGraph(record(), rewrites);
  expect(on.dispatches.length).toBeLessThanOrEqual(off.dispatches.length);
  const dispatches = { off: off.dispatches.length, on: on.dispatches.length };
  return { fired, ...dispatches, inputs, weights, outputs: on.outputs };
}
