/**
 * What the plans of the published models say before anything runs: dispatches and memory, on a GPU at default limits.
 */
import {
  DEFAULT_CAPABILITIES,
  LimitError,
  prepare,
  type Capabilities,
  type Graph,
  type Report,
} from '../../src/engine/index.ts';
import { rewrites } from '../../src/kernels/index.ts';
import { PUBLISHED, recordModel } from '../models/published.ts';
import { digits } from '../table.ts';

const mib = (bytes: number) => digits(bytes / 2 ** 20);

/**
 * One row per model; dispatches of one step or decode, the planned memory between layers over the least any plan needs.
 */
export function planRows(caps: Capabilities = DEFAULT_CAPABILITIES): string[][] {
  const head = ['model', 'dispatches', 'GFLOP', 'weights, MiB', 'activations, MiB', 'largest live set, MiB', 'ratio'];
  return [
    head,
    ...Object.values(PUBLISHED).map((model) => [model.case, ...cells(recordModel(model, 'f32').graph, caps)]),
  ];
}

function cells(graph: Graph, caps: Capabilities): string[] {
  let plan: Report;
  try {
    plan = prepare(graph, caps, { rewrites }).report;
  } catch (error) {
    if (error instanceof LimitError) return ['beyond the limits', ...Array<string>(5).fill('–')];
    throw error;
  }
  const { dispatches, flops, weightBytes, peakBytes, liveBytes } = plan;
  const ratio = (peakBytes / liveBytes).toFixed(3);
  return [`${dispatches}`, digits(flops / 1e9), mib(weightBytes), mib(peakBytes), mib(liveBytes), ratio];
}
