/** The elementwise family: activation, scale, add, multiply, scale-and-shift by a per-sample vector. */
import {
  defineKernel,
  formatShape,
  linearGrid,
  ShapeError,
  type Capabilities,
  type Op,
  type Tensor,
} from '../engine/index.ts';
import {
  ACTIVATIONS,
  activationCode,
  ceilDiv,
  plainlyTranslated,
  rowsOf,
  sameShape,
  width4,
  type Activation,
} from './common.ts';
import shader from './elementwise.wgsl';

/** Unary, sum, product or affine by OP, with an activation behind, `each` vec4 per invocation. */
export const elementwiseKernel = defineKernel({
  shader,
  tunables: {
    WG: [64, 4],
    OP: [0, 1, 2, 3],
    BROADCAST: [false, true],
    ACT: Object.values(ACTIVATIONS),
    AHEAD: [false, true],
  },
  grid: ({ items, parts }) => linearGrid(items * parts),
});

/**
 * Invocations of a workgroup, and how many of `count` vec4 each should handle. On a processor a workgroup costs as much
 * as some of its vec4, and two cores want a few each; a GPU hides what an invocation waits for behind another. A
 * workgroup of one subgroup goes through memory from end to end, one of several again and again with gaps; wider ones
 * do not mind.
 */
function shares(count: number, caps: Capabilities): { WG: number; each: number } {
  const WG = 64;
  if (!caps.software) return { WG, each: 1 };
  const each = Math.min(32, Math.max(1, Math.floor(count / (16 * WG))));
  return plainlyTranslated(caps) ? { WG: 4, each: (each * WG) / 4 } : { WG, each };
}

const OPS = { unary: 0, add: 1, mul: 2, affine: 3 } as const;

/** What {@link elementwiseOp} is told beside its inputs. */
export interface ElementwiseAttrs {
  kind: keyof typeof OPS;
  act: Activation;
  alpha: number;
  beta: number;
}

/** Inputs a, and perhaps b and c, each of a's shape or [B,C]; result of a's shape. */
export const elementwiseOp: Op<ElementwiseAttrs> = {
  name: 'elementwise',
  lower({ inputs: { a, b, c }, attrs, output }, to) {
    const BROADCAST = b !== undefined && !sameShape(a!.shape, b.shape);
    const C4 = width4(output);
    const items = BROADCAST ? output.shape[0] : 1;
    const item4 = (rowsOf(output) * C4) / items;
    const { WG, each } = shares(items * item4, to.caps);
    const overlaps = to.caps.software && !plainlyTranslated(to.caps);
    const AHEAD = overlaps && attrs.act !== 'none' && attrs.act !== 'sigmoid';
    to.dispatch({
      kernel: elementwiseKernel,
      tunables: { WG, OP: OPS[attrs.kind], BROADCAST, ACT: activationCode(attrs.act), AHEAD },
      params: {
        ...{ items, item4, each, parts: ceilDiv(item4, each * WG), C4, C: output.shape.at(-1)! },
        ...{ alpha: attrs.alpha, beta: attrs.beta },
      },
      bindings: { a, b, c, out: output },
    });
  },
};

interface BinaryOptions {
  act?: Activation;
  alpha?: number;
  beta?: number;
}

function record(kind: keyof typeof OPS, a: Tensor, b: Tensor | undefined, c: Tensor | undefined, o: BinaryOptions) {
  if (a.layout !== 'rows') {
    throw new ShapeError(`${kind}: expected a in rows, got dense ${formatShape(a.shape)}; use fromNchw first`);
  }
  const row = [a.shape[0], a.shape.at(-1)!];
  for (const t of [b, c]) {
    if (t && !sameShape(t.shape, a.shape) && !sameShape(t.shape, row)) {
      const rows = `${formatShape(a.shape)} or ${formatShape(row)}`;
      throw new ShapeError(`${kind}: expected an operand ${rows}, got ${formatShape(t.shape)}`);
    }
  }
  if (b && c && !sameShape(b.shape, c.shape)) {
    throw new ShapeError(
      `${kind}: expected operands of one shape, got ${formatShape(b.shape)} and ${formatShape(c.shape)}`,
    );
  }
  const attrs = { kind, act: o.act ?? 'none', alpha: o.alpha ?? 1, beta: o.beta ?? 1 } as const;
  return a.graph.record(elementwiseOp, { a, b, c }, attrs, a.shape);
}

/** act(alpha·a); a of any shape. @throws ShapeError unless a is in rows. */
export const unary = (a: Tensor, options: { act?: Activation; alpha?: number } = {}) =>
  record('unary', a, undefined, undefined, options);

/** act(alpha·a + beta·b); b of a's shape, or [B,C] added to every position. @throws ShapeError for another b. */
export const add = (a: Tensor, b: Tensor, options: BinaryOptions = {}) => record('add', a, b, undefined, options);

/** act(alpha·a·b); b of a's shape, or [B,C]. @throws ShapeError for another b. */
export const mul = (a: Tensor, b: Tensor, options: { act?: Activation; alpha?: number } = {}) =>
  record('mul', a, b, undefined, options);

/** a·(1 + scale) + shift, both [B,C] or of a's shape: FiLM, adaptive norm. @throws ShapeError for other shapes. */
export const scaleShift = (a: Tensor, scale: Tensor, shift: Tensor, options: { act?: Activation } = {}) =>
  record('affine', a, scale, shift, options);
