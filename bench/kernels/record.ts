/** A problem as a graph of ours. */
import { Graph, type Tensor, type Weight } from '../../src/engine/index.ts';
import { add, attention, conv2d, groupNorm, layerNorm, linear, scaleShift, unary } from '../../src/kernels/index.ts';
import { operands, type Problem } from './problem.ts';

/** Inputs and weights by the names of {@link operands}; the result is the output `out`. */
export function recordProblem(problem: Problem, dtype: 'f32' | 'f16'): Graph {
  const { inputs, weights } = operands(problem);
  const g = new Graph(dtype);
  const t = Object.fromEntries(
    Object.entries(inputs).map(([name, { shape }]) => [name, g.input(name, shape, { dtype, layout: 'rows' })]),
  );
  const w = Object.fromEntries(Object.entries(weights).map(([key, { shape }]) => [key, { key, shape }]));
  g.output('out', recordOp(problem, t, w));
  return g;
}

function recordOp(
  p: Problem,
  { x, y, q, k, v, scale, shift }: Record<string, Tensor>,
  { w, b }: Record<string, Weight>,
) {
  switch (p.op) {
    case 'matmul':
      return linear(x, w, b);
    case 'conv2d': {
      const { stride, top, left, bottom, right } = p;
      return conv2d(x, w, b, { stride, padding: { top, left, bottom, right } });
    }
    case 'groupNorm':
      return groupNorm(x, w, b, { groups: p.groups, eps: p.eps, act: 'silu' });
    case 'layerNorm':
      return layerNorm(x, w, b, { eps: p.eps });
    case 'attention':
      return attention(q, k, v, { heads: p.heads });
    case 'elementwise':
      if (p.kind === 'add') return add(x, y);
      return p.kind === 'silu' ? unary(x, { act: 'silu' }) : scaleShift(x, scale, shift);
  }
}
