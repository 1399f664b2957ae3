/**
 * A recorded graph computed on the host in f64, node by node as recorded: no rewrite, no packing, no tile. Slow (about
 * 10⁹ multiply-adds a second), and independent of every kernel.
 */
import { rootOf, UnsupportedError, type Graph, type Node, type Tensor } from '../../src/engine/index.ts';
import { activation, type ActivationName } from '../../test/reference/activation.ts';
import { attentionReference } from '../../test/reference/attention.ts';

type Values = Float64Array;
type Read = (t: Tensor) => Values;
type Evaluate = (node: Node, read: Read) => Values;

/**
 * The graph's output `out`, row-major.
 * @param inputs row-major values of every input
 * @param weight row-major values of a checkpoint key
 * @throws UnsupportedError for an op that is not written here
 */
export async function hostRun(
  graph: Graph,
  inputs: Readonly<Record<string, ArrayLike<number>>>,
  weight: (key: string) => Promise<Float32Array>,
): Promise<Values> {
  const values = new Map<number, Values>();
  for (const [name, t] of graph.inputs) values.set(t.id, Float64Array.from(inputs[name]));
  const read: Read = (t) => values.get(rootOf(t).id)!;
  for (const node of graph.nodes) {
    const evaluate = OPS[node.op.name];
    if (!evaluate)
      throw new UnsupportedError(`hostRun: expected one of ${Object.keys(OPS).join(', ')}, got ${node.op.name}`);
    const constants = Object.values(node.inputs).filter((t) => t?.constant);
    for (const t of constants) values.set(t!.id, Float64Array.from(await weight(t!.constant!.key)));
    values.set(node.output.id, evaluate(node, read));
    for (const t of constants) values.delete(t!.id);
  }
  return read(graph.outputs.get('out')!);
}

const OPS: Record<string, Evaluate> = {
  fromNchw: transposed((b, c, p, { C, P }) => [(b * P + p) * C + c, (b * C + c) * P + p]),
  toNchw: transposed((b, c, p, { C, P }) => [(b * C + c) * P + p, (b * P + p) * C + c]),
  reshape: ({ inputs: { x } }, read) => read(x!),
  concat({ inputs: { a, b }, output }, read) {
    const [A, N] = [a!.shape.at(-1)!, output.shape.at(-1)!];
    const [left, right] = [read(a!), read(b!)];
    return fill(output, (i) => {
      const [row, c] = [Math.floor(i / N), i % N];
      return c < A ? left[row * A + c] : right[row * (N - A) + c - A];
    });
  },
  upsampleNearest({ inputs: { x }, output }, read) {
    const [, H, W, C] = x!.shape;
    const [, height, width] = output.shape;
    const from = read(x!);
    return fill(output, (i) => {
      const [c, px, py] = [i % C, Math.floor(i / C) % width, Math.floor(i / (C * width)) % height];
      const b = Math.floor(i / (C * width * height));
      return from[((b * H + Math.floor((py * H) / height)) * W + Math.floor((px * W) / width)) * C + c];
    });
  },
  elementwise({ inputs: { a, b, c }, attrs, output }, read) {
    const { kind, act, alpha, beta } = attrs as { kind: string; act: ActivationName; alpha: number; beta: number };
    const [x, y, z] = [read(a!), b && read(b), c && read(c)];
    const C = output.shape.at(-1)!;
    const item = x.length / output.shape[0];
    // An operand [B,C] counts for every position of its item.
    const at = (v: Values, i: number) => (v.length === x.length ? v[i] : v[Math.floor(i / item) * C + (i % C)]);
    const formula: Record<string, (i: number) => number> = {
      unary: (i) => alpha * x[i],
      add: (i) => alpha * x[i] + beta * at(y!, i),
      mul: (i) => alpha * x[i] * at(y!, i),
      affine: (i) => x[i] * (1 + at(y!, i)) + at(z!, i),
    };
    return fill(output, (i) => activation(formula[kind](i), act));
  },
  groupNorm({ inputs: { x, gamma, beta }, attrs, output }, read) {
    const { groups, eps, act } = attrs as { groups: number; eps: number; act: ActivationName };
    const [v, g, h] = [read(x!), gamma && read(gamma), beta && read(beta)];
    const [B, C] = [output.shape[0], output.shape.at(-1)!];
    const [P, size] = [v.length / (B * C), C / groups];
    const out = new Float64Array(v.length);
    for (let b = 0; b < B; b++) {
      for (let first = 0; first < C; first += size) {
        const each = (visit: (i: number, c: number) => void) => {
          for (let p = 0; p < P; p++) for (let c = first; c < first + size; c++) visit((b * P + p) * C + c, c);
        };
        let [mean, variance] = [0, 0];
        each((i) => (mean += v[i] / (P * size)));
        each((i) => (variance += (v[i] - mean) ** 2 / (P * size)));
        const inverse = 1 / Math.sqrt(variance + eps);
        each((i, c) => (out[i] = activation((v[i] - mean) * inverse * (g?.[c] ?? 1) + (h?.[c] ?? 0), act)));
      }
    }
    return out;
  },
  attention({ inputs: { q, k, v, mask }, attrs }, read) {
    if (mask) throw new UnsupportedError('hostRun: expected attention without a mask');
    const [B, T, heads, d] = q!.shape;
    const { scale } = attrs as { scale: number };
    return attentionReference(read(q!), read(k!), read(v!), { B, T, S: k!.shape[1], heads, d }, scale).out;
  },
  linear(node, read) {
    const [K, N] = [node.inputs.x!.shape.at(-1)!, node.output.shape.at(-1)!];
    const M = read(node.inputs.x!).length / K;
    return convolve(node, read, { B: 1, H: 1, W: M, I: K, OH: 1, OW: M, O: N, R: 1, S: 1, stride: 1, top: 0, left: 0 });
  },
  conv2d: (node, read) => convolve(node, read, node.attrs as ConvShape),
};

type ConvShape = Record<'B' | 'H' | 'W' | 'I' | 'OH' | 'OW' | 'O' | 'R' | 'S' | 'stride' | 'top' | 'left', number>;

/** (act(conv + bias + shift) + residual)·scale, all channels of a pixel side by side. */
function convolve({ inputs, attrs, output }: Node, read: Read, c: ConvShape): Values {
  const { act, scale } = attrs as { act: ActivationName; scale: number };
  const x = read(inputs.x!);
  const w = byTap(read(inputs.weight!), c);
  const [bias, shift, residual] = [inputs.bias, inputs.shift, inputs.residual].map((t) => t && read(t));
  const { B, H, W, I, OH, OW, O, R, S, stride, top, left } = c;
  const out = new Float64Array(output.shape.reduce((a, b) => a * b, 1));
  const sum = new Float64Array(O);
  for (let pixel = 0; pixel < B * OH * OW; pixel++) {
    const [b, oy, ox] = [Math.floor(pixel / (OH * OW)), Math.floor(pixel / OW) % OH, pixel % OW];
    for (let o = 0; o < O; o++) sum[o] = (bias?.[o] ?? 0) + (shift?.[b * O + o] ?? 0);
    for (let tap = 0; tap < R * S; tap++) {
      const iy = oy * stride + Math.floor(tap / S) - top;
      const ix = ox * stride + (tap % S) - left;
      if (iy < 0 || iy >= H || ix < 0 || ix >= W) continue;
      const from = ((b * H + iy) * W + ix) * I;
      for (let i = 0; i < I; i++) {
        const value = x[from + i];
        const row = (tap * I + i) * O;
        for (let o = 0; o < O; o++) sum[o] += value * w[row + o];
      }
    }
    for (let o = 0; o < O; o++) {
      const at = pixel * O + o;
      out[at] = (activation(sum[o], act) + (residual?.[at] ?? 0)) * scale;
    }
  }
  return out;
}

/** [O,I,R,S] → [R·S,I,O] */
function byTap(w: Values, { O, I, R, S }: ConvShape): Values {
  const taps = R * S;
  const out = new Float64Array(w.length);
  for (let o = 0; o < O; o++) {
    for (let i = 0; i < I; i++) for (let t = 0; t < taps; t++) out[(t * I + i) * O + o] = w[(o * I + i) * taps + t];
  }
  return out;
}

interface Edge {
  B: number;
  C: number;
  P: number;
  scale: number;
  offset: number;
}

function transposed(places: (b: number, c: number, p: number, e: Edge) => [to: number, from: number]): Evaluate {
  return ({ inputs: { x }, attrs, output }, read) => {
    const edge = attrs as Edge;
    const from = read(x!);
    const out = new Float64Array(output.shape.reduce((a, b) => a * b, 1));
    for (let b = 0; b < edge.B; b++) {
      for (let c = 0; c < edge.C; c++) {
        for (let p = 0; p < edge.P; p++) {
          const [to, at] = places(b, c, p, edge);
          out[to] = from[at] * edge.scale + edge.offset;
        }
      }
    }
    return out;
  };
}

function fill({ shape }: Tensor, value: (i: number) => number): Values {
  const out = new Float64Array(shape.reduce((a, b) => a * b, 1));
  for (let i = 0; i < out.length; i++) out[i] = value(i);
  return out;
}
