/**
 * What kernels of convolutions are told: where things lie, what becomes of a sum on its way out
 * (`modules/convOut.wgsl`) and of a map on its way in (`modules/normIn.wgsl`).
 */
import type { Node } from '../engine/index.ts';
import { ACTIVATIONS, activationCode, ceilDiv, width4 } from './common.ts';
import type { Conv2dAttrs } from './conv2d.ts';
import { sharedActivation } from './groupNorm.ts';

/** Tunables of the way out. */
export const CONV_OUT = {
  ACT: Object.values(ACTIVATIONS),
  HAS_BIAS: [true, false],
  HAS_SHIFT: [false, true],
  HAS_RESIDUAL: [false, true],
};

/** Tunables of the way in. */
export const CONV_NORM = { NORM: [false, true], NORM_ACT: Object.values(ACTIVATIONS) };

/** What becomes of the map before it is convolved: tunables and fields of `Params`. */
export function convNorm({ I, norm }: Conv2dAttrs) {
  return {
    tunables: { NORM: norm !== undefined, NORM_ACT: norm ? sharedActivation(norm.act) : ACTIVATIONS.none },
    params: { I, acts: norm && norm.act !== 'none' ? 1 : 0 },
  };
}

/** The fields of `Params` that say where things lie. */
export function convGeometry({ B, H, W, I, OH, OW, O, R, S, stride, dilation, top, left }: Conv2dAttrs) {
  return { B, H, W, I4: ceilDiv(I, 4), OH, OW, O4: ceilDiv(O, 4), R, S, stride, dilation, top, left };
}

/** What becomes of a sum: tunables and fields of `Params`. */
export function convOut({ inputs: { bias, shift, residual }, attrs }: Node<Conv2dAttrs>) {
  const has = { HAS_BIAS: bias !== undefined, HAS_SHIFT: shift !== undefined, HAS_RESIDUAL: residual !== undefined };
  return {
    tunables: { ACT: activationCode(attrs.act), ...has },
    params: {
      ...{ O: attrs.O, scale: attrs.scale },
      shift4: shift ? width4(shift) : 0,
      shiftAt: (attrs.shiftAt ?? 0) / 4,
    },
  };
}

/** Multiplications and additions of the formula. */
export const convFlops = ({ B, OH, OW, O, I, R, S }: Conv2dAttrs) => 2 * B * OH * OW * O * I * R * S;
