/** `nn.LayerNorm` with affine, under its names. */
import type { Tensor } from '../../engine/index.ts';
import { layerNorm } from '../../kernels/index.ts';
import type { WeightScope } from '../weightScope.ts';

/** x [...,D] → the same shape. */
export function affineLayerNorm(w: WeightScope, x: Tensor, { eps = 1e-5 }: { eps?: number } = {}): Tensor {
  const D = x.shape.at(-1)!;
  const [weight, bias] = [w.param('weight', [D]), w.param('bias', [D])];
  return x.graph.scope(w.path, () => layerNorm(x, weight, bias, { eps }));
}
