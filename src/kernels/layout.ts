/** The public edge: dense NCHW f32 outside, padded NHWC storage inside. */
import {
  defineKernel,
  formatShape,
  linearGrid,
  ShapeError,
  type Kernel,
  type Op,
  type Tensor,
} from '../engine/index.ts';
import { ceilDiv, expectRank } from './common.ts';
import fromShader from './fromNchw.wgsl';
import toShader from './toNchw.wgsl';

const grid: Kernel['grid'] = ({ B, C4, P }, t) => linearGrid(ceilDiv(B * C4 * P, t.WG));

/** Dense NCHW f32 → padded NHWC storage, one vec4 per invocation. */
export const fromNchwKernel = defineKernel({ shader: fromShader, tunables: { WG: [64, 128, 256] }, grid });
/** Padded NHWC storage → dense NCHW f32, one vec4 per invocation. */
export const toNchwKernel = defineKernel({ shader: toShader, tunables: { WG: [64, 128, 256] }, grid });

interface EdgeAttrs {
  B: number;
  C: number;
  P: number;
  scale: number;
  offset: number;
}

const edgeParams = ({ B, C, P, scale, offset }: EdgeAttrs) => ({ B, C, P, C4: ceilDiv(C, 4), scale, offset });

const fromNchwOp: Op<EdgeAttrs> = {
  name: 'fromNchw',
  lower({ inputs: { x }, attrs, output }, to) {
    to.dispatch({ kernel: fromNchwKernel, params: edgeParams(attrs), bindings: { input: x, out: output } });
  },
};

const toNchwOp: Op<EdgeAttrs> = {
  name: 'toNchw',
  lower({ inputs: { x }, attrs, output }, to) {
    to.dispatch({ kernel: toNchwKernel, params: edgeParams(attrs), bindings: { input: x, out: output } });
  },
};

/**
 * Dense f32 x [B,C,H,W] → [B,H,W,C], or a dense row vector [B,D] → [B,D]; x·scale + offset on the way.
 * @throws ShapeError unless x is dense f32 of rank 2 or 4.
 */
export function fromNchw(x: Tensor, { scale = 1, offset = 0 } = {}): Tensor {
  if (x.layout !== 'dense' || x.dtype !== 'f32' || (x.shape.length !== 4 && x.shape.length !== 2)) {
    const got = `${x.layout} ${x.dtype} ${formatShape(x.shape)}`;
    throw new ShapeError(`fromNchw: expected dense f32 [B,C,H,W] or [B,D], got ${got}`);
  }
  const [B, C, H = 1, W = 1] = x.shape;
  const shape = x.shape.length === 4 ? [B, H, W, C] : [B, C];
  return x.graph.record(fromNchwOp, { x }, { B, C, P: H * W, scale, offset }, shape);
}

/** x [B,H,W,C] → dense f32 [B,C,H,W], x·scale + offset on the way. @throws ShapeError unless x is [B,H,W,C]. */
export function toNchw(x: Tensor, { scale = 1, offset = 0 } = {}): Tensor {
  expectRank('toNchw', 'x', x, 4, '[B,H,W,C]');
  const [B, H, W, C] = x.shape;
  return x.graph.record(toNchwOp, { x }, { B, C, P: H * W, scale, offset }, [B, C, H, W], {
    dtype: 'f32',
    layout: 'dense',
  });
}
