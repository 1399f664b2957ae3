/**
 * A problem as ONNX graphs: as PyTorch's exporter writes it (opset 17, channels first), and with what onnxruntime has
 * of its own for it. Which is faster depends on the adapter, so that both run and the faster counts.
 */
import { count, operands, type Problem, type ProblemData } from '../../kernels/problem.ts';
import type { OnnxModel, OnnxNode, OnnxTensor } from './model.ts';

export const VARIANTS = ['exported', 'fused'] as const;
export type Variant = (typeof VARIANTS)[number];

export interface ProblemGraph {
  model: OnnxModel;
  /** Turns what the graph gives into the problem's layout, channels last. */
  output(values: Float32Array): Float32Array;
}

const OWN = 'com.microsoft';

/**
 * Inputs are initialisers that may be overridden, so that they lie on the device; the output is `y`. With `probe`, for
 * runtimes that cannot leave it there, the output is instead the part of `y` below `ends`, which a run feeds: one value
 * where it is timed, so that no result is read back, or all.
 * @returns undefined where there is nothing of onnxruntime's own for the problem
 */
export function problemGraph(
  p: Problem,
  data: ProblemData,
  variant: Variant,
  { probe }: { probe: boolean },
): ProblemGraph | undefined {
  const build = BUILDERS[p.op] as (p: Problem, data: ProblemData, fused: boolean) => Built | undefined;
  const built = build(p, data, variant === 'fused');
  if (!built) return undefined;
  const { nodes, tensors, shape, output = (values) => values } = built;
  if (!probe) return { model: { nodes, tensors, inputs: {}, outputs: { y: shape } }, output };
  const rank = shape.length;
  const whole = (values: number[]): OnnxTensor => ({
    shape: [values.length],
    data: BigInt64Array.from(values, (v) => BigInt(v)),
  });
  const slice = node('Slice', ['y', 'starts', 'ends', 'axes'], 'probe');
  return {
    model: {
      nodes: [...nodes, slice],
      inputs: { ends: { shape: [rank], int64: true } },
      tensors: {
        ...tensors,
        starts: whole(shape.map(() => 0)),
        axes: whole(shape.map((_, i) => i)),
      },
      outputs: { probe: shape.map((_, i) => `n${i}`) },
    },
    output,
  };
}

/** What `ends` is to be for the whole result. */
export function wholeShape(p: Problem): readonly number[] {
  const { out } = operands(p);
  return isImage(p) ? [out[0], out[3], out[1], out[2]] : out;
}

const isImage = (p: Problem) => p.op === 'conv2d' || p.op === 'groupNorm' || p.op === 'elementwise';

interface Built {
  nodes: OnnxNode[];
  tensors: Record<string, OnnxTensor>;
  /** Of `y`. */
  shape: readonly number[];
  output?(values: Float32Array): Float32Array;
}

const node = (
  op: string,
  inputs: string[],
  output: string,
  attributes?: OnnxNode['attributes'],
  domain?: string,
): OnnxNode => ({ op, inputs, outputs: [output], attributes, domain });

const constant = (shape: readonly number[], data: Float32Array): OnnxTensor => ({ shape, data });
const input = (shape: readonly number[], data: Float32Array): OnnxTensor => ({ shape, data, overridable: true });
const longs = (...values: number[]): OnnxTensor => ({
  shape: [values.length],
  data: BigInt64Array.from(values, (v) => BigInt(v)),
});

type Builders = { [Op in Problem['op']]: (p: Extract<Problem, { op: Op }>, d: ProblemData, fused: boolean) => unknown };

const BUILDERS: Builders = {
  /** A Linear of two dimensions becomes a Gemm; of three a MatMul and an Add, which is tried as the other form. */
  matmul({ M, N, K }, { x, w, b }, fused): Built {
    const shape = [M, N];
    if (!fused) {
      const tensors = { x: input([M, K], x), w: constant([N, K], w), b: constant([N], b) };
      return { nodes: [node('Gemm', ['x', 'w', 'b'], 'y', { transB: 1 })], tensors, shape };
    }
    const tensors = { x: input([M, K], x), w: constant([K, N], transpose(w, 1, N, K)), b: constant([N], b) };
    return { nodes: [node('MatMul', ['x', 'w'], 'xw'), node('Add', ['xw', 'b'], 'y')], tensors, shape };
  },

  /** onnxruntime has nothing of its own here; the other form asks for channels-last inside. */
  conv2d(p, { x, w, b }): Built {
    const [B, OH, OW, O] = operands(p).out;
    return {
      nodes: [
        node('Conv', ['x', 'w', 'b'], 'y', {
          kernel_shape: [p.R, p.S],
          strides: [p.stride, p.stride],
          pads: [p.top, p.left, p.bottom, p.right],
          dilations: [1, 1],
          group: 1,
        }),
      ],
      tensors: {
        x: input([p.B, p.I, p.H, p.W], channelsFirst(x, p.B, p.H * p.W, p.I)),
        w: constant([O, p.I, p.R, p.S], w),
        b: constant([O], b),
      },
      shape: [B, O, OH, OW],
      output: (values) => channelsLast(values, B, OH * OW, O),
    };
  },

  /** The exporter's GroupNorm is an InstanceNormalization of the groups; QuickGelu with alpha 1 is SiLU. */
  groupNorm({ B, H, W, C, groups, eps }, { x, w, b }, fused): Built {
    const tensors = {
      x: input([B, C, H, W], channelsFirst(x, B, H * W, C)),
      w: constant([C, 1, 1], w),
      b: constant([C, 1, 1], b),
      split: longs(0, groups, -1),
      ones: constant([groups], new Float32Array(groups).fill(1)),
      zeros: constant([groups], new Float32Array(groups)),
      whole: longs(B, C, H, W),
    };
    const nodes = [
      node('Reshape', ['x', 'split'], 'grouped'),
      node('InstanceNormalization', ['grouped', 'ones', 'zeros'], 'normed', { epsilon: { float: eps } }),
      node('Reshape', ['normed', 'whole'], 'n'),
      node('Mul', ['n', 'w'], 'scaled'),
      node('Add', ['scaled', 'b'], 'a'),
      ...silu('a', 'y', fused),
    ];
    return { nodes, tensors, shape: [B, C, H, W], output: (values) => channelsLast(values, B, H * W, C) };
  },

  layerNorm({ M, D, eps }, { x, w, b }, fused): Built | undefined {
    if (fused) return undefined;
    return {
      nodes: [node('LayerNormalization', ['x', 'w', 'b'], 'y', { axis: -1, epsilon: { float: eps } })],
      tensors: { x: input([M, D], x), w: constant([D], w), b: constant([D], b) },
      shape: [M, D],
    };
  },

  /** scaled_dot_product_attention as opset 17 says it: both sides scaled by the root of the scale. */
  attention({ B, T, S, heads, d }, { q, k, v }, fused): Built {
    const width = heads * d;
    const tensors: Record<string, OnnxTensor> = {
      q: input([B, T, width], q),
      k: input([B, S, width], k),
      v: input([B, S, width], v),
    };
    const shape = [B, T, width];
    if (fused) {
      return { nodes: [node('MultiHeadAttention', ['q', 'k', 'v'], 'y', { num_heads: heads }, OWN)], tensors, shape };
    }
    Object.assign(tensors, {
      heads: longs(B, -1, heads, d),
      joined: longs(B, T, width),
      root: constant([1], Float32Array.of(Math.sqrt(1 / Math.sqrt(d)))),
    });
    const split = (name: string, perm: number[]) => [
      node('Reshape', [name, 'heads'], `${name}Split`),
      node('Transpose', [`${name}Split`], `${name}Heads`, { perm }),
    ];
    const nodes = [
      ...split('q', [0, 2, 1, 3]),
      ...split('k', [0, 2, 3, 1]),
      ...split('v', [0, 2, 1, 3]),
      node('Mul', ['qHeads', 'root'], 'qScaled'),
      node('Mul', ['kHeads', 'root'], 'kScaled'),
      node('MatMul', ['qScaled', 'kScaled'], 'scores'),
      node('Softmax', ['scores'], 'weights', { axis: -1 }),
      node('MatMul', ['weights', 'vHeads'], 'mixed'),
      node('Transpose', ['mixed'], 'tokens', { perm: [0, 2, 1, 3] }),
      node('Reshape', ['tokens', 'joined'], 'y'),
    ];
    return { nodes, tensors, shape };
  },

  elementwise({ kind, B, H, W, C }, data, fused): Built | undefined {
    if (fused && kind !== 'silu') return undefined;
    const shape = [B, C, H, W];
    const image = (values: Float32Array) => input(shape, channelsFirst(values, B, H * W, C));
    const output = (values: Float32Array) => channelsLast(values, B, H * W, C);
    const x = image(data.x);
    if (kind === 'silu') return { nodes: silu('x', 'y', fused), tensors: { x }, shape, output };
    if (kind === 'add')
      return { nodes: [node('Add', ['x', 'y0'], 'y')], tensors: { x, y0: image(data.y) }, shape, output };
    const row = (values: Float32Array) => input([B, C, 1, 1], values);
    return {
      nodes: [node('Add', ['scale', 'one'], 's'), node('Mul', ['x', 's'], 'xs'), node('Add', ['xs', 'shift'], 'y')],
      tensors: { x, scale: row(data.scale), shift: row(data.shift), one: constant([1], Float32Array.of(1)) },
      shape,
      output,
    };
  },
};

function silu(from: string, to: string, fused: boolean): OnnxNode[] {
  if (fused) return [node('QuickGelu', [from], to, { alpha: { float: 1 } }, OWN)];
  return [node('Sigmoid', [from], 'gate'), node('Mul', [from, 'gate'], to)];
}

/** [B,P,C] → [B,C,P] */
export const channelsFirst = (x: Float32Array, B: number, P: number, C: number) => transpose(x, B, P, C);
/** [B,C,P] → [B,P,C] */
export const channelsLast = (x: Float32Array, B: number, P: number, C: number) => transpose(x, B, C, P);

/** [B,rows,columns] → [B,columns,rows] */
export function transpose(x: Float32Array, B: number, rows: number, columns: number): Float32Array {
  const out = new Float32Array(count([B, rows, columns]));
  for (let b = 0; b < B; b++) {
    const at = b * rows * columns;
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) out[at + c * rows + r] = x[at + r * columns + c];
    }
  }
  return out;
}
