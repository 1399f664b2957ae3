/**
 * Pictures from noise by a network of ncsnv2: annealed Langevin dynamics. A folder is the network alone: `config.json`
 * with the authors' config, its sections `model`, `data` and `sampling`, and the weights under their original keys.
 * Song & Ermon 2020, https://arxiv.org/abs/2006.09011
 */
import { InvalidArgumentError, numel, UnsupportedError, type Device } from '../../engine/index.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { ncsnv2SizeMultiple } from '../../models/scoreSde/ncsnv2Config.ts';
import { NCSNv2 } from '../../models/scoreSde/ncsnv2Model.ts';
import { section } from '../../models/scoreSde/sections.ts';
import { parameterise, scorePrediction } from '../../sampler/parameterisation/denoiser.ts';
import type { NormalGenerator } from '../../sampler/noise/generator.ts';
import type { SampleOptions } from '../../sampler/diffusers/samplerFrom.ts';
import { annealedLangevin } from '../../sampler/sde/langevin.ts';
import { TorchGenerator } from '../../sampler/noise/torchGenerator.ts';
import { loadParts, pictureCount } from '../run/basePipeline.ts';
import type { GenerationResult } from '../options/generation.ts';
import { runLatents } from '../run/latentRun.ts';
import { initialNoise, latentSize, type Generators, type LatentShape } from '../run/latents.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import { expectPicture } from '../run/pixelDecoder.ts';
import { refuseOptions } from '../options/refuseOptions.ts';
import { openOriginal, type OriginalSource } from './openOriginal.ts';
import type { Ncsnv2Options } from './options.ts';
import { generatorsOf, networkOn, PixelPipeline } from './pixelPipeline.ts';

/** Options of other kinds, and what stands for them here. */
const FOREIGN = {
  numInferenceSteps: 'there are stepsEach at each of its noise levels',
  classLabels: 'these networks know no classes',
  brownian: 'every step draws its own noise',
  sigmas: 'levels are stored with the weights',
  timesteps: 'levels are stored with the weights',
  eta: 'stepSize says how noise is added',
  guidanceScale: 'the network is not guided; leave it out',
};

/** What a config says of sampling. */
interface Setup {
  imageSize: number;
  stepsEach?: number;
  stepSize?: number;
  denoise: boolean;
}

/** Of the sampling section: files, numbers of pictures, and other things than sampling. */
const IGNORED = [
  ...['batch_size', 'data_init', 'ckpt_id', 'final_only', 'fid', 'num_samples4fid', 'inpainting', 'interpolation'],
  ...['n_interpolations', 'consistent'],
];

/** Pictures by one NCSNv2 on one device. */
export class NCSNv2Pipeline extends PixelPipeline {
  private constructor(
    device: Device,
    private readonly network: NCSNv2,
    private readonly setup: Setup,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, network, network.config.unitRange ? [0, 1] : [-1, 1], onProgress);
  }

  /**
   * Loads the folder of a network, or a config and checkpoint that are open already.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError, WeightError, UnsupportedError for a network whose
   * pictures are not values of pixels, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(
    device: Device,
    source: OriginalSource,
    options: LoadPipelineOptions = {},
  ): Promise<NCSNv2Pipeline> {
    const { onProgress } = options;
    const opened = await openOriginal(source, options);
    try {
      const setup = readSetup(opened.config);
      return await loadParts(async (own) => {
        const load = networkOptions(device, options);
        const network = await own(NCSNv2.load(device, opened, load));
        expectPicture('NCSNv2Pipeline', network.config.channels);
        return new NCSNv2Pipeline(device, network, setup, onProgress);
      });
    } finally {
      await opened.close();
    }
  }

  /** Width and height in pixels must be multiples of this. */
  get sizeMultiple(): number {
    return ncsnv2SizeMultiple(this.network.config);
  }

  /** The size the network was trained at, pixels. */
  get sampleSize(): { width: number; height: number } {
    return { width: this.setup.imageSize, height: this.setup.imageSize };
  }

  /**
   * From uniform noise to pictures: `stepsEach` steps at each level, and one along the score at the end. Steps tell the
   * level's sigma as their timestep.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: Ncsnv2Options = {}): Promise<GenerationResult> {
    refuseOptions(options, FOREIGN);
    const { network, setup, device, toPictures: decode } = this;
    const { stepsEach = setup.stepsEach, stepSize = setup.stepSize, denoise = setup.denoise } = options;
    if (!Number.isInteger(stepsEach) || stepsEach! < 1 || !(stepSize! > 0 && stepSize! < Infinity)) {
      throw new InvalidArgumentError(
        `generate: expected stepsEach ≥ 1 and stepSize > 0, got ${stepsEach} and ${stepSize}; where the config's ` +
          'sampling section has no n_steps_each and step_lr, pass them',
      );
    }
    const batch = pictureCount('batchSize', options.batchSize ?? options.seeds?.length);
    const shape: LatentShape = [batch, network.config.channels, ...latentSize(this, options)];
    const sigmas = [...network.sigmas];
    const sample = ({ x, denoiser, generator, resume, signal, onStep }: SampleOptions) =>
      annealedLangevin(x, {
        ...{ denoiser, generator, resume, signal, onStep },
        ...{ sigmas, stepsEach: stepsEach!, stepSize: stepSize!, denoise },
      });
    return runLatents(
      {
        device,
        sampler: { sample },
        shape,
        noise: (generator) =>
          options.latents
            ? initialNoise(shape, options.latents, generator)
            : uniform(shape, generator, network.config.unitRange ? 0 : -1),
        denoiser: (space) => {
          const { checkFinite } = options;
          const ask = networkOn(space, shape, (sample, sigma, signal) => {
            const noiseIndex = sigmas.indexOf(sigma);
            return network.forward({ sample, noiseIndex, signal, checkFinite, onProgress: this.onProgress });
          });
          return parameterise(ask, scorePrediction);
        },
        decode,
      },
      { ...options, generator: generatorsOf(options, batch) },
    );
  }
}

/** @throws ConfigError, UnsupportedError */
function readSetup(raw: RawConfig): Setup {
  const data = section(raw, 'NCSNv2', 'data');
  const sampling = new ConfigReader((raw.sampling ?? {}) as RawConfig, 'NCSNv2 sampling');
  if (data.bool('logit_transform', false)) {
    throw new UnsupportedError('NCSNv2Pipeline: expected pictures of pixel values, got logit_transform: true');
  }
  const setup: Setup = {
    imageSize: data.int('image_size', undefined, { min: 1 }),
    stepsEach: sampling.has('n_steps_each') ? sampling.int('n_steps_each', undefined, { min: 1 }) : undefined,
    stepSize: sampling.has('step_lr') ? sampling.number('step_lr', undefined, { above: 0 }) : undefined,
    denoise: sampling.bool('denoise', true),
  };
  sampling.ignored(IGNORED);
  sampling.done();
  return setup;
}

/** `torch.rand` in low … 1. @throws InvalidArgumentError for another number of generators, or one without `rand` */
function uniform([batch, ...item]: LatentShape, generator: Generators, low: number): Float32Array {
  const draw = (own: NormalGenerator, n: number) => {
    if (own instanceof TorchGenerator) return own.rand(n).map((u) => low + (1 - low) * u);
    throw new InvalidArgumentError(
      'generate: expected a seed or a TorchGenerator, since the start is uniform; pass one, or latents',
    );
  };
  if ('randn' in generator) return draw(generator, batch * numel(item));
  if (generator.length !== batch) {
    throw new InvalidArgumentError(`generate: expected one generator or ${batch}, got ${generator.length}`);
  }
  return Float32Array.from(generator.flatMap((own) => [...draw(own, numel(item))]));
}
