/** The blocks of NCSNv2, a RefineNet (Lin et al. 2017), under the names of the authors' `layers.py`. */
import type { Tensor } from '../../engine/index.ts';
import { add, avgPool2 } from '../../kernels/index.ts';
import { batchNorm } from '../../kernels/batchNorm.ts';
import { instanceNorm, instanceNormPlus, varianceNorm } from '../../kernels/instanceNorm.ts';
import { maxPool2d } from '../../kernels/pool2d.ts';
import { resizeBilinear } from '../../kernels/resizeBilinear.ts';
import { conv } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import type { Ncsnv2Norm } from './ncsnv2Config.ts';
import { activate, activated, fusedActivation, type Nonlinearity } from './sections.ts';

/** What all blocks have in common. */
export interface RefineOptions {
  normalization: Ncsnv2Norm;
  nonlinearity: Nonlinearity;
}

/** A norm of single channels and the activation behind: x [B,H,W,C] → the same shape. */
export function normalised(w: WeightScope, x: Tensor, o: RefineOptions, eps = 1e-5): Tensor {
  const C = x.shape[3];
  const param = (name: string) => w.param(name, [C]);
  const act = fusedActivation(o.nonlinearity);
  const norm = (): Tensor => {
    switch (o.normalization) {
      case 'InstanceNorm++':
        return instanceNormPlus(x, { alpha: param('alpha'), gamma: param('gamma'), beta: param('beta') }, { act });
      case 'VarianceNorm':
        return varianceNorm(x, param('alpha'), { act });
      case 'InstanceNorm':
        return instanceNorm(x, { act, eps });
      case 'BatchNorm': {
        const [mean, variance] = [param('running_mean'), param('running_var')];
        return batchNorm(x, { weight: param('weight'), bias: param('bias'), mean, variance }, { act, eps });
      }
      case 'NoneNorm':
        return activate(x, o.nonlinearity);
    }
  };
  const n = x.graph.scope(w.path, norm);
  return o.normalization === 'NoneNorm' ? n : activated(n, o.nonlinearity);
}

/** `ResidualBlock`; with a dilation nothing is halved. x [B,H,W,C] → [B,H',W',out]. */
export function residualBlock(
  w: WeightScope,
  x: Tensor,
  { out, down = false, dilation }: { out: number; down?: boolean; dilation?: number },
  o: RefineOptions,
): Tensor {
  const C = x.shape[3];
  const halves = down && dilation === undefined;
  let h = normalised(w.at('normalize1'), x, o); // [B,H,W,C]
  h = conv(w.at('conv1'), h, down ? C : out, { dilation }); // [B,H,W,C or out]
  h = normalised(w.at('normalize2'), h, o); // [B,H,W,C or out]
  if (halves) {
    // The mean of a sum is the sum of means, so one pooling serves both branches.
    const shortcut = conv(w.at('shortcut', 'conv'), x, out, { kernel: 1 }); // [B,H,W,out]
    const sum = conv(w.at('conv2', 'conv'), h, out, { residual: shortcut }); // [B,H,W,out]
    return x.graph.scope(w.path, () => avgPool2(sum)); // [B,H/2,W/2,out]
  }
  let shortcut = x;
  const reach = dilation ? { dilation } : { kernel: 1 };
  if (down || C !== out) shortcut = conv(w.at('shortcut'), x, out, reach); // [B,H,W,out]
  return conv(w.at('conv2'), h, out, { dilation, residual: shortcut }); // [B,H,W,out]
}

/** `RCUBlock`: `blocks` times two activated convolutions and a shortcut. x [B,H,W,C] → the same shape. */
function convUnits(w: WeightScope, x: Tensor, blocks: number, { nonlinearity: act }: RefineOptions): Tensor {
  const C = x.shape[3];
  for (let i = 1; i <= blocks; i++) {
    const first = conv(w.at(`${i}_1_conv`), activate(x, act), C, { bias: false }); // [B,H,W,C]
    x = conv(w.at(`${i}_2_conv`), activate(first, act), C, { bias: false, residual: x }); // [B,H,W,C]
  }
  return x;
}

/** `MSFBlock`: each map through a convolution, brought to one size, added up. → [B,height,width,features]. */
function fuse(w: WeightScope, maps: readonly Tensor[], features: number, height: number, width: number): Tensor {
  return maps
    .map((x, i) => {
      const h = conv(w.at('convs', i), x, features); // [B,h,w,features]
      if (h.shape[1] === height && h.shape[2] === width) return h;
      return h.graph.scope(w.path, () => resizeBilinear(h, { height, width, alignCorners: true }));
    })
    .reduce((sum, h) => add(sum, h)); // [B,height,width,features]
}

/** `CRPBlock`: twice the largest of 5×5 pixels and a convolution, each added. x [B,H,W,C] → the same shape. */
function chainedPooling(w: WeightScope, x: Tensor, { nonlinearity }: RefineOptions): Tensor {
  x = activate(x, nonlinearity); // [B,H,W,C]
  let path = x;
  for (let i = 0; i < 2; i++) {
    const pooled = x.graph.scope(w.path, () => maxPool2d(path, { side: 5, stride: 1, padding: 2 })); // [B,H,W,C]
    path = conv(w.at('convs', i), pooled, x.shape[3], { bias: false }); // [B,H,W,C]
    x = add(path, x); // [B,H,W,C]
  }
  return x;
}

/** `RefineBlock`: maps of several sizes → [B,H,W,features] of the first one's size. */
export function refineBlock(
  w: WeightScope,
  maps: readonly Tensor[],
  features: number,
  o: RefineOptions,
  last = false,
): Tensor {
  const [, H, W] = maps[0].shape;
  const adapted = maps.map((x, i) => convUnits(w.at('adapt_convs', i), x, 2, o)); // as maps
  let h = adapted.length > 1 ? fuse(w.at('msf'), adapted, features, H, W) : adapted[0]; // [B,H,W,features]
  h = chainedPooling(w.at('crp'), h, o); // [B,H,W,features]
  return convUnits(w.at('output_convs'), h, last ? 3 : 1, o); // [B,H,W,features]
}
