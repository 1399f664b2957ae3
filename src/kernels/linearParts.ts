/** linear on channels that lie in several tensors, without joining them first: [a b]·Wᵀ = a·W₁ᵀ + b·W₂ᵀ. */
import { formatShape, ShapeError, type Packing, type Tensor, type Weight } from '../engine/index.ts';
import { sameShape } from './common.ts';
import { linearOp } from './matmul.ts';
import { packMatrix, packVector } from './packing.ts';

/** Columns from `start` to `end` of [N, K], packed as {@link packMatrix} packs a matrix of that width. */
function packColumns(start: number, end: number): Packing {
  const part = (from: readonly number[]) => [from[0], end - start];
  return {
    id: `matrix columns ${start}-${end}`,
    shape: (from) => packMatrix.shape(part(from)),
    blocks: (from) => packMatrix.blocks(part(from)),
    pack(data, [N, K], first, last, out) {
      const width = 4 * Math.ceil(N / 4) * 4; // elements of one block: four k of all n
      for (let n = 0; n < N; n++) {
        const column = (n >> 2) * 16 + (n & 3);
        for (let k = 4 * first; k < Math.min(4 * last, end - start); k++) {
          out[((k >> 2) - first) * width + column + 4 * (k & 3)] = data[n * K + start + k];
        }
      }
    },
  };
}

/**
 * Tensors [..., K₁], [..., K₂] … → [..., N]: the linear layer of their concatenation. One dispatch each; where they are
 * large, the tensor that they would make together need not fit a binding.
 * @param weight [N, K₁ + K₂ + …]
 * @throws ShapeError when widths, N or the other dimensions do not fit.
 */
export function linearParts(parts: readonly Tensor[], weight: Weight, bias?: Weight): Tensor {
  const [N, K] = weight.shape;
  const rows = parts[0].shape.slice(0, -1);
  const width = parts.reduce((sum, part) => sum + part.shape.at(-1)!, 0);
  const fits = parts.every((part) => part.layout === 'rows' && sameShape(part.shape.slice(0, -1), rows));
  if (weight.shape.length !== 2 || K !== width || !fits || (bias && !sameShape(bias.shape, [N]))) {
    throw new ShapeError(
      `linearParts: expected parts in rows of widths that add up to the ${K} columns of ${weight.key}, and a bias ` +
        `[${N}], got ${parts.map((part) => formatShape(part.shape)).join(', ')} and ` +
        `${bias ? formatShape(bias.shape) : 'no bias'}`,
    );
  }
  const g = parts[0].graph;
  let start = 0;
  // One behind the other, so that the weight is read once for all of them.
  const weights = parts.map((x) => g.constant(weight, packColumns(start, (start += x.shape.at(-1)!)), g.dtype));
  let sum: Tensor | undefined;
  parts.forEach((x, i) => {
    const b = bias && i === 0 ? g.constant(bias, packVector, 'f32') : undefined;
    const inputs = { x, weight: weights[i], bias: b, residual: sum };
    sum = g.record(linearOp, inputs, { act: 'none', scale: 1 }, [...rows, N]);
  });
  return sum!;
}
