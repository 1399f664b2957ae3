/**
 * The U-Net of guided-diffusion in its original layout, and what came of it: improved-diffusion's before and
 * consistency_models' after it, and the one for super-resolution.
 *
 * Nichol, Dhariwal 2021, "Improved Denoising Diffusion Probabilistic Models", https://arxiv.org/abs/2102.09672
 * Dhariwal, Nichol 2021, "Diffusion Models Beat GANs on Image Synthesis", https://arxiv.org/abs/2105.05233
 * Song et al. 2023, "Consistency Models", https://arxiv.org/abs/2303.01469
 */
import { formatShape, InvalidArgumentError, ShapeError, type Tensor } from '../../engine/index.ts';
import { add, concat, embedding, fromNchw, toNchw, unary } from '../../kernels/index.ts';
import { resizeBilinear } from '../../kernels/resizeBilinear.ts';
import { conv, dense, norm } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import { admAttention, admDownsample, admResBlock, admUpsample } from './admBlocks.ts';
import { ADM_EPS, ADM_GROUPS, channelsAt, headsOf, inputBlocks, type AdmConfig } from './admConfig.ts';

/** What the network reads; all dense, as the public edge has them. */
export interface AdmInputs {
  /** [B,C,H,W]. */
  sample: Tensor;
  /** Sinusoidal features of the timestep, cosines first, [B,modelChannels]. */
  timestep: Tensor;
  /** Class ids u32 [B]. */
  classLabels?: Tensor;
  /** The small picture of a super-resolution network [B,C,h,w]. */
  lowRes?: Tensor;
}

/** Told of intermediate results by name: `time_embed`, `input0` …, `middle`, `upsampled`. */
export type AdmTrace = (name: string, t: Tensor) => void;

/** sample [B,C,H,W] → dense f32 [B,outChannels,H,W]. @throws ShapeError, InvalidArgumentError before anything runs. */
export function admUnet(config: AdmConfig, w: WeightScope, inputs: AdmInputs, trace: AdmTrace = () => {}): Tensor {
  checkSample(config, inputs.sample);
  const emb = embed(config, w, inputs, trace); // [B,D], activated
  const heads = (channels: number, up = false) =>
    headsOf(config, channels, up ? config.numHeadsUpsample : config.numHeads);

  let x = conv(w.at('input_blocks', 0, 0), picture(inputs, trace), channelsAt(config, 0)); // [B,H,W,C0]
  const states = [x];
  trace('input0', x);
  inputBlocks(config).forEach(({ kind, out, attention }, i) => {
    const at = w.at('input_blocks', i + 1);
    if (kind === 'down') {
      x = admDownsample(at.at(0), x, emb, config); // [B,H/2,W/2,C]
    } else {
      x = admResBlock(at.at(0), x, emb, config, { out }); // [B,H,W,out]
      if (attention) x = admAttention(at.at(1), x, config, heads(out)); // [B,H,W,out]
    }
    trace(`input${i + 1}`, x);
    states.push(x);
  });

  x = admMiddle(config, w.at('middle_block'), x, emb); // [B,H/2ⁿ,W/2ⁿ,Cₙ]
  trace('middle', x);

  let n = 0;
  for (let level = config.channelMult.length - 1; level >= 0; level--) {
    const out = channelsAt(config, level);
    for (let i = 0; i <= config.numResBlocks; i++) {
      const at = w.at('output_blocks', n++);
      let layer = 0;
      x = concat(x, states.pop()!); // [B,H,W,C+S]
      x = admResBlock(at.at(layer++), x, emb, config, { out }); // [B,H,W,out]
      if (config.attentionResolutions.includes(2 ** level)) {
        x = admAttention(at.at(layer++), x, config, heads(out, true)); // [B,H,W,out]
      }
      if (level > 0 && i === config.numResBlocks) x = admUpsample(at.at(layer), x, emb, config); // [B,2H,2W,out]
    }
  }
  x = norm(w.at('out', 0), x, { groups: ADM_GROUPS, eps: ADM_EPS, act: 'silu' }); // [B,H,W,C0]
  return toNchw(conv(w.at('out', 2), x, config.outChannels)); // [B,out,H,W]
}

/** `middle_block`: x [B,H,W,C] → [B,H,W,C]. */
function admMiddle(config: AdmConfig, w: WeightScope, x: Tensor, emb: Tensor): Tensor {
  const out = x.shape[3];
  x = admResBlock(w.at(0), x, emb, config, { out }); // [B,H,W,C]
  x = admAttention(w.at(1), x, config, headsOf(config, out, config.numHeads)); // [B,H,W,C]
  return admResBlock(w.at(2), x, emb, config, { out }); // [B,H,W,C]
}

/** The embedding that every block projects, with the activation that each would apply: [B,4·modelChannels]. */
function embed(config: AdmConfig, w: WeightScope, { timestep, classLabels }: AdmInputs, trace: AdmTrace): Tensor {
  let e = timeEmbedding(w.at('time_embed'), fromNchw(timestep), 4 * config.modelChannels); // [B,D]
  trace('time_embed', e);
  if (config.numClasses !== null) {
    if (!classLabels) {
      throw new InvalidArgumentError('admUnet: expected classLabels for this config, got none; pass a class per item');
    }
    e = add(e, embedding(classLabels, w.at('label_emb').param('weight', [config.numClasses, e.shape[1]]))); // [B,D]
  }
  return unary(e, { act: 'silu' }); // [B,D]
}

/** `time_embed`: features [B,modelChannels] → [B,D]. */
export function timeEmbedding(w: WeightScope, features: Tensor, D: number): Tensor {
  const h = dense(w.at(0), features, D, { act: 'silu' }); // [B,D]
  return dense(w.at(2), h, D); // [B,D]
}

/** The picture, with the small one behind it, enlarged: [B,H,W,C] or [B,H,W,2C]. */
function picture({ sample, lowRes }: AdmInputs, trace: AdmTrace): Tensor {
  const x = fromNchw(sample); // [B,H,W,C]
  if (!lowRes) return x;
  const [, , height, width] = sample.shape;
  const large = resizeBilinear(fromNchw(lowRes), { height, width }); // [B,H,W,C]
  trace('upsampled', large);
  return concat(x, large); // [B,H,W,2C]
}

function checkSample(config: AdmConfig, sample: Tensor): void {
  const [, C, H, W] = sample.shape;
  if (sample.shape.length !== 4 || C !== config.inChannels) {
    throw new ShapeError(`admUnet: expected sample [B,${config.inChannels},H,W], got ${formatShape(sample.shape)}`);
  }
  const multiple = admSizeMultiple(config);
  if (H % multiple !== 0 || W % multiple !== 0) {
    throw new InvalidArgumentError(
      `admUnet: expected height and width divisible by ${multiple}, got ${H}×${W}; ` +
        `choose ${Math.ceil(H / multiple) * multiple}×${Math.ceil(W / multiple) * multiple}`,
    );
  }
}

/** Height and width must be multiples of this: a map halved on the way down must fit when doubled on the way up. */
export function admSizeMultiple(config: AdmConfig): number {
  return 2 ** (config.channelMult.length - 1);
}
