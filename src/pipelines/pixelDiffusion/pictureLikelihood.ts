/** How likely pictures are to a network of pixels, in bits per dimension. Song et al. 2021, appendix D.2. */
import { InvalidArgumentError, throwIfAborted, type Device } from '../../engine/index.ts';
import type { Denoiser, Parameterisation, PredictionType } from '../../sampler/index.ts';
import { bitsPerDim, chooseDifference, logLikelihood } from '../../sampler/sde/likelihood.ts';
import { TorchGenerator } from '../../sampler/noise/torchGenerator.ts';
import type { FlowProcess } from './flowProcess.ts';
import { GpuSpace } from '../gpu/gpuSpace.ts';
import { planesOf, type ImageInput, type Planes } from '../picture/imageInput.ts';
import type { LatentShape } from '../run/latents.ts';
import type { UnconditionalOptions } from '../options/pictureOptions.ts';

/** What one call takes. */
export interface LikelihoodCall extends Pick<UnconditionalOptions, 'classLabels' | 'signal'> {
  /** Planes [B,C,H,W] in −1 … 1, or RGBA bytes. */
  image: ImageInput;
  /** Draws the probes and what bytes are filled up with: a seed or a generator; default 0. */
  generator?: number | TorchGenerator;
  /** Fill the steps between bytes with uniform noise, so that pictures have a density; default for bytes alone. */
  dequantise?: boolean;
  /** Random directions that the divergence is estimated along, whose results are averaged; ≥ 1, default 1. */
  probes?: number;
  /** Of the probe; default signs. */
  probe?: 'signs' | 'normal';
  /** Of the ODE, > 0; default 1e-5. */
  rtol?: number;
  atol?: number;
  /** The time at which pictures stand, in (0, 1); default the least noise that the process names. */
  end?: number;
  /** Half distance of the differences along a probe, > 0; default the one of least error, see chooseDifference. */
  difference?: number;
}

/** What it finds. */
export interface PictureLikelihood {
  /** Of each picture as 8 bits per channel. */
  bitsPerDim: number[];
  /** log p of each picture in the network's range, nats. */
  logLikelihood: number[];
  /** The noise that the flow makes of each picture, [B,C,H,W]; not scaled to unit variance. */
  latents: Float32Array;
  /** Slopes of the flow that were asked for; each takes the network three times. */
  evaluations: number;
}

/** Where pictures come from. */
export interface LikelihoodModel {
  process: FlowProcess;
  channels: number;
  /** Of pictures, as the network sees them. */
  range: readonly [number, number];
  /** The network on vectors of the space; `reads` says what its output means. */
  denoiser(space: GpuSpace, shape: LatentShape, reads: PredictionType | Parameterisation): Denoiser;
}

/** @throws as the pipeline's method says */
export async function pictureLikelihood(
  device: Device,
  call: LikelihoodCall,
  { process: { sde, end: least, reads }, channels, range, denoiser }: LikelihoodModel,
): Promise<PictureLikelihood> {
  const { signal, probes = 1, probe: law = 'signs', rtol, atol, end = least } = call;
  throwIfAborted(signal, 'likelihood');
  if (!Number.isInteger(probes) || probes < 1) {
    throw new InvalidArgumentError(`likelihood: expected probes to be an integer ≥ 1, got ${probes}`);
  }
  if (!(end > 0 && end < 1)) throw new InvalidArgumentError(`likelihood: expected end in (0, 1), got ${end}`);
  const generator = call.generator instanceof TorchGenerator ? call.generator : new TorchGenerator(call.generator ?? 0);
  const pictures = planesOf('image', call.image, channels, [-1, 1]);
  const values = inRange(pictures, range, (call.dequantise ?? !('shape' in call.image)) ? generator : undefined);
  const [batch] = pictures.shape;
  const space = await GpuSpace.open(device);
  try {
    const x = space.vec(values, batch);
    const common = { x, sde, end, rtol, atol, signal, denoiser: denoiser(space, pictures.shape, reads) };
    const sum = { nats: Array<number>(batch).fill(0), evaluations: 0 };
    let latents = new Float32Array(0);
    for (let i = 0; i < probes; i++) {
      const drawn = generator.randn(values.length);
      const probe = space.vec(law === 'signs' ? drawn.map((z) => (z < 0 ? -1 : 1)) : drawn, batch);
      const difference = call.difference ?? (await chooseDifference({ ...common, probe })).difference;
      const found = await logLikelihood({ ...common, probe, difference });
      found.logLikelihood.forEach((nats, b) => (sum.nats[b] += nats / probes));
      sum.evaluations += found.evaluations;
      latents = Float32Array.from(await space.read(found.z));
      space.release(found.z);
      space.release(probe);
    }
    const unit = Math.log2(256 / (range[1] - range[0])); // one step of 8 bits, in the network's range
    const bits = bitsPerDim(sum.nats, values.length / batch).map((b) => b + unit);
    return { bitsPerDim: bits, logLikelihood: sum.nats, latents, evaluations: sum.evaluations };
  } finally {
    space.dispose();
  }
}

/** Values of −1 … 1 in another range; with a generator as bytes whose steps are filled up uniformly. */
function inRange({ data }: Planes, [low, high]: readonly [number, number], fill?: TorchGenerator): Float32Array {
  const uniform = fill?.rand(data.length);
  return Float32Array.from(data, (v, i) => {
    const unit = v / 2 + 0.5;
    const place = uniform ? (Math.min(255, Math.max(0, Math.round(255 * unit))) + uniform[i]) / 256 : unit;
    return low + (high - low) * place;
  });
}
