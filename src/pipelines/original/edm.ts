/**
 * Pictures from noise, or of a class, by a network of NVlabs/edm (EDM, and DDPM++, NCSN++ and ADM under its
 * preconditionings). A folder here is the network alone: `config.json` with the arguments of its class beside
 * `_class_name` (`EDMPrecond`, `VPPrecond`, `VEPrecond`, `iDDPMPrecond`; `id2label` may name classes), and the weights
 * under their original keys. Karras et al. 2022, algorithms 1 and 2, https://arxiv.org/abs/2206.00364
 */
import type { Device } from '../../engine/index.ts';
import { EdmNetwork } from '../../models/edm/edmModel.ts';
import { parameterise } from '../../sampler/parameterisation/denoiser.ts';
import { generalSampler } from '../../sampler/edm/generalSampler.ts';
import type { SampleOptions } from '../../sampler/diffusers/samplerFrom.ts';
import { loadParts, pictureCount } from '../run/basePipeline.ts';
import { preconditioningOf } from './edmDenoiser.ts';
import { runLatents } from '../run/latentRun.ts';
import { latentSize, type LatentShape } from '../run/latents.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import { expectPicture } from '../run/pixelDecoder.ts';
import { refuseOptions } from '../options/refuseOptions.ts';
import { doubleNormals } from './doubleNormals.ts';
import { openOriginal, withoutLabels, type OriginalSource } from './openOriginal.ts';
import type { ClassedResult, EdmOptions } from './options.ts';
import { classesOf, drawClasses, generatorsOf, networkOn, PixelPipeline } from './pixelPipeline.ts';

/** Options of other kinds, and what stands for them here. */
const FOREIGN = {
  brownian: 'noise is added by sChurn',
  sigmas: 'levels follow from numInferenceSteps, sigmaMin, sigmaMax and rho',
  timesteps: 'levels follow from numInferenceSteps, sigmaMin, sigmaMax and rho',
  eta: 'noise is added by sChurn',
  guidanceScale: 'the network is not guided; leave it out',
};

/** Pictures by one network of EDM on one device. */
export class EDMPipeline extends PixelPipeline {
  private constructor(
    device: Device,
    private readonly network: EdmNetwork,
    /** Class names by index. */
    override readonly labels: Readonly<Record<number, string>>,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, network, [-1, 1], onProgress);
  }

  /**
   * Loads the folder of a network, or a config and checkpoint that are open already.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError, WeightError, InvalidArgumentError for a network
   * without a preconditioning, UnsupportedError for one that makes no pictures, OutOfMemoryError, AbortedError; nothing
   * is left behind.
   */
  static async load(device: Device, source: OriginalSource, options: LoadPipelineOptions = {}): Promise<EDMPipeline> {
    const { onProgress } = options;
    const opened = await openOriginal(source, options);
    try {
      const { labels, config } = withoutLabels(opened.config);
      return await loadParts(async (own) => {
        const load = networkOptions(device, options);
        const network = await own(EdmNetwork.load(device, { config, checkpoint: opened.checkpoint }, load));
        preconditioningOf(network);
        expectPicture('EDMPipeline', network.config.net.inChannels);
        return new EDMPipeline(device, network, labels, onProgress);
      });
    } finally {
      await opened.close();
    }
  }

  /** Width and height in pixels must be multiples of this. */
  get sizeMultiple(): number {
    return 2 ** (this.network.config.net.channelMult.length - 1);
  }

  /** The size the network was trained at, pixels. */
  get sampleSize(): { width: number; height: number } {
    const side = this.network.config.net.imgResolution;
    return { width: side, height: side };
  }

  /** The number of classes; 0 for a network without. */
  get numClasses(): number {
    return this.network.config.net.labelDim;
  }

  /**
   * From noise to pictures; by default 18 steps of Heun's method without churn. A generator draws in the order of the
   * authors' script: the start, a class (also where it is told one), then noise at every step, in f64 where it is a
   * `TorchGenerator`. So a seed makes the picture that it makes there on a CPU.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: EdmOptions = {}): Promise<ClassedResult> {
    refuseOptions(options, FOREIGN);
    const { network, numClasses, device, toPictures: decode } = this;
    const { numInferenceSteps = 18, sigmaMin: to, sigmaMax: from } = options;
    const { batch, ...told } = this.labelsOf(options);
    let { classLabels } = told;
    const shape: LatentShape = [batch, network.config.net.inChannels, ...latentSize(this, options)];
    const precond = preconditioningOf(network);
    const sample = (given: SampleOptions) => {
      const { x, denoiser, resume, signal, onStep } = given;
      // The state of the authors' loop is in f64, and its noise therefore too.
      const generator = 'map' in given.generator! ? given.generator.map(doubleNormals) : doubleNormals(given.generator);
      const run = { x, denoiser, generator, resume, signal, onStep };
      return generalSampler({ ...options, ...run, numInferenceSteps, network: precond, from, to });
    };
    const result = await runLatents(
      {
        device,
        sampler: { sample },
        shape,
        prepare: async (_space, generator) => {
          if (numClasses === 0) return;
          const drawn = drawClasses(generator, batch, numClasses);
          if (options.classLabels === undefined) classLabels = drawn;
        },
        denoiser: (space) => {
          const { checkFinite } = options;
          const call = { classLabels, checkFinite, onProgress: this.onProgress };
          const ask = networkOn(space, shape, (sample, noiseLabels, signal) =>
            network.forward({ ...call, sample, noiseLabels, signal }),
          );
          return parameterise(ask, precond);
        },
        decode,
      },
      { ...options, generator: generatorsOf(options, batch), numInferenceSteps },
    );
    return { ...result, classLabels: classLabels instanceof Float32Array ? undefined : classLabels };
  }

  /**
   * What the network is told of classes; undefined for none, or for those that are drawn. @throws InvalidArgumentError
   */
  private labelsOf(options: EdmOptions): { classLabels?: number[] | Float32Array; batch: number } {
    const { classLabels, batchSize = options.seeds?.length } = options;
    if (classLabels === null) return { batch: pictureCount('batchSize', batchSize) };
    if (classLabels instanceof Float32Array) {
      const rows = classLabels.length / Math.max(this.numClasses, 1);
      return { classLabels, batch: pictureCount('batchSize', batchSize ?? rows) }; // the network checks rows
    }
    const { classes, batch } = classesOf({ classLabels, batchSize }, this.numClasses, this.labels);
    return { classLabels: classes, batch };
  }
}
