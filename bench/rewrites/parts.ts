/**
 * Parts of networks op by op, as a first draft would have them. Our own models ask an op for the activation, shift or
 * residual that belongs to it; what some rewrites do for those who leave that to the library shows here only.
 */
import { Graph, type Tensor } from '../../src/engine/index.ts';
import { add, conv2d, fromNchw, groupNorm, linear, slice, toNchw, unary } from '../../src/kernels/index.ts';
import { attention } from '../../src/kernels/attention.ts';
import { WeightScope } from '../../src/models/all.ts';
import type { Recorded } from '../models/published.ts';
import { seededValues } from '../seeded.ts';

/** Two residual blocks of ddpm-cifar10-32 at 32×32. x [1,128,32,32], time [1,512] → [1,128,32,32]. */
export function resnetBlocks(dtype: 'f32' | 'f16'): Recorded {
  const [C, D, side] = [128, 512, 32];
  const graph = new Graph(dtype);
  const w = new WeightScope();
  let x = fromNchw(graph.input('x', [1, C, side, side])); // [1,32,32,C]
  const time = fromNchw(graph.input('time', [1, D])); // [1,D]
  for (const block of [0, 1]) {
    const at = w.at('resnets', block);
    const t = dense(at.at('time_emb_proj'), time, C); // [1,C]
    let h = conv(at.at('conv1'), silu(norm(at.at('norm1'), x))); // [1,32,32,C]
    h = conv(at.at('conv2'), silu(norm(at.at('norm2'), add(h, t)))); // [1,32,32,C]
    x = add(h, x); // [1,32,32,C]
  }
  graph.output('out', toNchw(x));
  return recorded(graph, w);
}

/**
 * Attention and feed-forward layer of DiT-S/2 at 256 tokens, queries, keys and values in one weight. x [1,384,16,16].
 */
export function transformerBlock(dtype: 'f32' | 'f16'): Recorded {
  const [D, side, heads] = [384, 16, 6];
  const graph = new Graph(dtype);
  const w = new WeightScope();
  const x = fromNchw(graph.input('x', [1, D, side, side])); // [1,16,16,D]
  const tokens = graph.view(x, [1, side * side, D]); // [1,T,D]
  const qkv = dense(w.at('attn', 'qkv'), tokens, 3 * D); // [1,T,3D]
  const [q, k, v] = [0, 1, 2].map((i) => slice(qkv, i * D, (i + 1) * D)); // [1,T,D]
  const y = add(dense(w.at('attn', 'proj'), attention(q, k, v, { heads }), D), tokens); // [1,T,D]
  const h = unary(dense(w.at('mlp', 'fc1'), y, 4 * D), { act: 'gelu_tanh' }); // [1,T,4D]
  const z = add(dense(w.at('mlp', 'fc2'), h, D), y); // [1,T,D]
  graph.output('out', toNchw(graph.view(z, [1, side, side, D])));
  return recorded(graph, w);
}

const silu = (x: Tensor) => unary(x, { act: 'silu' });

function conv(w: WeightScope, x: Tensor): Tensor {
  const C = x.shape[3];
  return conv2d(x, w.param('weight', [C, C, 3, 3]), w.param('bias', [C]), { padding: 1 });
}

function norm(w: WeightScope, x: Tensor): Tensor {
  const C = x.shape[3];
  return groupNorm(x, w.param('weight', [C]), w.param('bias', [C]), { groups: 32, eps: 1e-6 });
}

function dense(w: WeightScope, x: Tensor, N: number): Tensor {
  return linear(x, w.param('weight', [N, x.shape.at(-1)!]), w.param('bias', [N]));
}

function recorded(graph: Graph, { wanted }: WeightScope): Recorded {
  const inputs = Object.fromEntries(
    [...graph.inputs].map(([name, { shape }]) => [
      name,
      seededValues(
        name,
        shape.reduce((a, b) => a * b, 1),
      ),
    ]),
  );
  return { graph, wanted, inputs };
}
