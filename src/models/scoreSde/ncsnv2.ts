/**
 * NCSNv2 for pictures of up to 64 pixels, and its deeper forms for 128 and 256.
 *
 * Song, Ermon 2020, "Improved Techniques for Training Score-Based Generative Models", https://arxiv.org/abs/2006.09011
 */
import type { Tensor } from '../../engine/index.ts';
import { fromNchw, mul, toNchw } from '../../kernels/index.ts';
import { conv } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import type { Ncsnv2Class, Ncsnv2Config } from './ncsnv2Config.ts';
import { normalised, refineBlock, residualBlock } from './refineNet.ts';

/** Two residual blocks: their channels in multiples of ngf, whether they halve or dilate. */
interface Stage {
  name: string;
  mult: number;
  down?: boolean;
  dilation?: number;
}

const STAGES: Readonly<Record<Ncsnv2Class, readonly Stage[]>> = {
  NCSNv2: [
    { name: '1', mult: 1 },
    { name: '2', mult: 2, down: true },
    { name: '3', mult: 2, down: true, dilation: 2 },
    { name: '4', mult: 2, down: true, dilation: 4 },
  ],
  NCSNv2Deeper: [
    { name: '1', mult: 1 },
    { name: '2', mult: 2, down: true },
    { name: '3', mult: 2, down: true },
    { name: '4', mult: 4, down: true, dilation: 2 },
    { name: '5', mult: 4, down: true, dilation: 4 },
  ],
  NCSNv2Deepest: [
    { name: '1', mult: 1 },
    { name: '2', mult: 2, down: true },
    { name: '3', mult: 2, down: true },
    { name: '31', mult: 2, down: true },
    { name: '4', mult: 4, down: true, dilation: 2 },
    { name: '5', mult: 4, down: true, dilation: 4 },
  ],
};

/** The refining blocks, from the coarsest map: their names and features in multiples of ngf. */
const REFINES: Readonly<Record<Ncsnv2Class, readonly (readonly [string, number])[]>> = {
  NCSNv2: [
    ['1', 2],
    ['2', 2],
    ['3', 1],
    ['4', 1],
  ],
  NCSNv2Deeper: [
    ['1', 4],
    ['2', 2],
    ['3', 2],
    ['4', 1],
    ['5', 1],
  ],
  NCSNv2Deepest: [
    ['1', 4],
    ['2', 2],
    ['31', 2],
    ['3', 2],
    ['4', 1],
    ['5', 1],
  ],
};

/** sample [B,C,H,W], inverseSigma [B,C], both dense → the score, dense f32 [B,C,H,W]. */
export function ncsnv2(config: Ncsnv2Config, w: WeightScope, sample: Tensor, inverseSigma: Tensor): Tensor {
  const { ngf, channels, variant } = config;
  const x = fromNchw(sample, config.unitRange ? { scale: 2, offset: -1 } : {}); // [B,H,W,C]
  let h = conv(w.at('begin_conv'), x, ngf); // [B,H,W,ngf]
  const maps = STAGES[variant].map(({ name, mult, down, dilation }) => {
    const at = w.at(`res${name}`);
    h = residualBlock(at.at(0), h, { out: mult * ngf, down, dilation }, config); // [B,Hᵢ,Wᵢ,Cᵢ]
    return (h = residualBlock(at.at(1), h, { out: mult * ngf, dilation }, config)); // [B,Hᵢ,Wᵢ,Cᵢ]
  });
  let refined: Tensor | undefined;
  for (const [name, mult] of REFINES[variant]) {
    const map = maps.pop()!;
    const inputs = refined ? [map, refined] : [map];
    refined = refineBlock(w.at(`refine${name}`), inputs, mult * ngf, config, maps.length === 0); // [B,Hᵢ,Wᵢ,Fᵢ]
  }
  // The authors pass the number of levels where PyTorch's own norms expect eps.
  const n = normalised(w.at('normalizer'), refined!, config, config.numClasses); // [B,H,W,ngf]
  const score = conv(w.at('end_conv'), n, channels); // [B,H,W,C]
  return toNchw(mul(score, fromNchw(inverseSigma))); // [B,C,H,W]
}
