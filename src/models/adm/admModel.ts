/** OpenAI's U-Nets on a device: load one, call it with any batch and size. */
import { InvalidArgumentError, type Capabilities, type Device, type Report } from '../../engine/index.ts';
import { reshape, toNchw } from '../../kernels/index.ts';
import { LoadedModel, planModel, weightsOf, type ModelDefinition, type ModelInputs } from '../loadedModel.ts';
import {
  checkTensorInput,
  type ModelOutput,
  type ModelOutputs,
  type RunOptions,
  type TensorData,
  type TensorInput,
} from '../modelRuntime.ts';
import { Network } from '../network.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import { sinusoidalEmbedding } from '../timestep.ts';
import { readAdmConfig, type AdmConfig } from './admConfig.ts';
import { admSizeMultiple, admUnet } from './admUnet.ts';

/** One evaluation of the network. */
export interface AdmCall extends RunOptions {
  /** [B,C,H,W]. */
  sample: TensorInput;
  /** One for the batch, or one per item; fractions are allowed. */
  timestep: number | readonly number[];
  /** A class id per item, where the network has classes. */
  classLabels?: readonly number[];
  /** The small picture [B,C,h,w] of a super-resolution network. */
  lowRes?: TensorInput;
}

/** Sizes of a call. */
export interface AdmShape {
  batch: number;
  height: number;
  width: number;
  /** Of the small picture of a super-resolution network; default a quarter of the sample's. */
  lowHeight?: number;
  lowWidth?: number;
}

type Recording = AdmShape & { trace?: boolean };

const definition: ModelDefinition<AdmConfig, Recording> = {
  className: 'UNetModel',
  alsoReads: ['SuperResModel'],
  readConfig: readAdmConfig,
  probes: (config) => [{ batch: 1, height: admSizeMultiple(config), width: admSizeMultiple(config) }],
  allowTrailingOnes: true,
  record(g, w, config, { batch: B, height, width, trace, ...low }) {
    const { inChannels: C, modelChannels, numClasses, superRes } = config;
    const lowRes = [B, C, low.lowHeight ?? Math.ceil(height / 4), low.lowWidth ?? Math.ceil(width / 4)];
    const inputs = {
      sample: g.input('sample', [B, C, height, width]),
      timestep: g.input('timestep', [B, modelChannels]),
      classLabels: numClasses === null ? undefined : g.input('classLabels', [B], { dtype: 'u32' }),
      lowRes: superRes ? g.input('lowRes', lowRes) : undefined,
    };
    const out = admUnet(config, w, inputs, (name, t) => {
      const [b, c] = t.shape;
      if (trace) g.output(name, toNchw(t.shape.length === 4 ? t : reshape(t, [b, 1, 1, c])));
    });
    g.output('out', out);
  },
};

/**
 * `UNetModel` or `SuperResModel` on a device: noise, or what the network was trained to say, from a noisy sample and a
 * timestep; a learned variance is the second half of the channels. Dhariwal & Nichol 2021, table 4.
 */
export class AdmUNet extends Network<AdmConfig, Recording, AdmShape> {
  /**
   * Loads `config.json`, the constructor's arguments beside `_class_name`, and the weights beside it.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<AdmUNet> {
    return new AdmUNet(await LoadedModel.load(device, source, definition, options));
  }

  /**
   * Predicts from a noisy sample [B,inChannels,H,W], one call at a time. Result [B,outChannels,H,W], valid until the
   * next call.
   * @throws InvalidArgumentError, ShapeError for inputs that do not fit, or after {@link dispose}; LimitError where the
   * size does not fit the device; OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost
   * device leave it usable.
   */
  async forward(call: AdmCall): Promise<ModelOutput> {
    return this.model.run(this.shapeOf(call), this.inputsOf(call), call);
  }

  /**
   * As {@link forward}, with intermediate results, all [B,C,H,W]: `time_embed` (before the class is added), `input0` …
   * (results of `input_blocks`), `middle`, `upsampled` (super-resolution), and `out`. @throws as {@link forward}
   */
  async trace(call: AdmCall): Promise<ModelOutputs> {
    return this.model.runAll({ ...this.shapeOf(call), trace: true }, this.inputsOf(call), call);
  }

  /** Height and width of a sample must be multiples of this. */
  get sizeMultiple(): number {
    return admSizeMultiple(this.config);
  }

  private shapeOf({ sample, lowRes }: AdmCall): AdmShape {
    const [batch, , height, width] = sample.shape;
    return { batch, height, width, ...(lowRes && { lowHeight: lowRes.shape[2], lowWidth: lowRes.shape[3] }) };
  }

  private inputsOf({ sample, timestep, classLabels, lowRes }: AdmCall): ModelInputs {
    const { inChannels, modelChannels, numClasses, superRes } = this.config;
    const pictures = { sample, ...(lowRes && { lowRes }) };
    for (const [name, input] of Object.entries(pictures)) {
      checkTensorInput('UNetModel', name, input);
      if (input.shape[1] !== inChannels || input.shape[0] !== sample.shape[0]) {
        throw new InvalidArgumentError(
          `UNetModel: expected ${name} of ${sample.shape[0]} items with ${inChannels} channels, ` +
            `got ${input.shape[0]} with ${input.shape[1]}`,
        );
      }
    }
    if (superRes !== (lowRes !== undefined)) {
      throw new InvalidArgumentError(
        superRes
          ? 'UNetModel: expected lowRes, this is a super-resolution network; pass the small picture'
          : 'UNetModel: expected no lowRes, this is no super-resolution network; omit it',
      );
    }
    const [batch] = sample.shape;
    const inputs: Record<string, TensorData | Uint32Array> = {
      sample: sample.data,
      timestep: admTimeFeatures('UNetModel', timestep, batch, modelChannels),
    };
    if (lowRes) inputs.lowRes = lowRes.data;
    if (numClasses !== null) inputs.classLabels = classIds('UNetModel', classLabels ?? [], batch, numClasses);
    else if (classLabels) {
      throw new InvalidArgumentError('UNetModel: expected no classLabels, the network has no classes; omit them');
    }
    return inputs;
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export function admWeights(config: AdmConfig): ReadonlyMap<string, readonly number[]> {
  return weightsOf(definition, config);
}

/** What a call takes, by default at the limits that every adapter has. @throws as {@link AdmUNet.plan} */
export function planAdmUNet(
  config: AdmConfig,
  shape: AdmShape,
  dtype: 'f32' | 'f16' = 'f32',
  caps?: Capabilities,
): Report {
  return planModel(definition, config, shape, dtype, caps);
}

/**
 * Features of one timestep for all or one per item, [B,dim]. @throws InvalidArgumentError for another number of them.
 */
export function admTimeFeatures(
  where: string,
  timestep: number | readonly number[],
  batch: number,
  dim: number,
): Float32Array {
  const all = typeof timestep === 'number' ? Array<number>(batch).fill(timestep) : timestep;
  if (all.length !== batch) {
    throw new InvalidArgumentError(`${where}: expected one timestep or ${batch}, got ${all.length}`);
  }
  return sinusoidalEmbedding(all, dim, { flipSinToCos: true, freqShift: 0 });
}

/** Class ids as the GPU reads them. @throws InvalidArgumentError unless there is a known class for every item. */
export function classIds(where: string, ids: readonly number[], batch: number, count: number): Uint32Array {
  const bad = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= count);
  if (ids.length === batch && bad === undefined) return Uint32Array.from(ids);
  throw new InvalidArgumentError(
    `${where}: expected ${batch} class labels, integers in 0 … ${count - 1}, got ${bad ?? `${ids.length} of them`}`,
  );
}
