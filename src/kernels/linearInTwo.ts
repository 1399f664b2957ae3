/**
 * A linear layer of two tensors as two layers of one, the second added to the first in its place. Where lanes run
 * in step, a shader that reads both tensors reads them in every turn, and has to be translated beside that of others.
 */
import type { DispatchRequest, Lowering, Node } from '../engine/index.ts';
import { width4 } from './common.ts';
import type { LinearAttrs } from './matmul.ts';

/** What a dispatch is told beside what it shares with all of a layer. */
export type PartOfLayer = Partial<Pick<DispatchRequest, 'tunables' | 'bindings'>> & { params?: Record<string, number> };

/** Whether a layer of two tensors is the sum of two layers, nothing rounded between them but to f32. */
export function isSum({ inputs: { second, gate }, attrs }: Node<LinearAttrs>, { graph }: Lowering): boolean {
  return second !== undefined && attrs.act === 'none' && !gate && !attrs.gated && graph.dtype === 'f32';
}

/**
 * Both, for a kernel that finds its rows of the weight behind wAt: the residual goes with the first, bias and factor
 * with the second.
 */
export function inTwo({ inputs: { x, second, residual }, output }: Node<LinearAttrs>, to: Lowering): PartOfLayer[] {
  const [first4, second4] = [width4(x!), width4(second!)];
  const tunables = { HAS_SECOND: false };
  const sum = to.scratch(output.shape, to.graph.dtype);
  return [
    {
      tunables,
      params: { K4: first4, A4: first4, wAt: 0, adds: residual ? 1 : 0, scale: 1 },
      bindings: { bias: undefined, second: undefined, residual, out: sum },
    },
    {
      tunables,
      params: { K4: second4, A4: second4, wAt: 4 * first4 * width4(output), adds: 1 },
      bindings: { a: second, second: undefined, residual: sum },
    },
  ];
}
