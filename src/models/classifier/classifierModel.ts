/** ADM's classifier on a device: load it once, ask it for logits, or for the gradient that guides. */
import { InvalidArgumentError, type Capabilities, type Device, type Report } from '../../engine/index.ts';
import { reshape, toNchw } from '../../kernels/index.ts';
import { readClassifierConfig, type ClassifierConfig } from '../adm/admConfig.ts';
import { admTimeFeatures, classIds } from '../adm/admModel.ts';
import { LoadedModel, planModel, weightsOf, type ModelDefinition } from '../loadedModel.ts';
import { checkTensorInput, type ModelOutput, type RunOptions, type TensorInput } from '../modelRuntime.ts';
import { Network } from '../network.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import { classifier } from './classifier.ts';

/** One evaluation. */
export interface ClassifierCall extends RunOptions {
  /** [B,C,H,W]. */
  sample: TensorInput;
  /** One for the batch, or one per item; fractions are allowed. */
  timestep: number | readonly number[];
}

/** Sizes of a call. */
export interface ClassifierShape {
  batch: number;
  height: number;
  width: number;
  /** Whether the gradient is computed too; default false. */
  gradient?: boolean;
}

const definition: ModelDefinition<ClassifierConfig, ClassifierShape> = {
  className: 'EncoderUNetModel',
  readConfig: readClassifierConfig,
  // The way back reads weights in another order, so the smallest call with a gradient loads everything.
  probes(config) {
    const side = config.pool === 'attention' ? config.imageSize! : 2 ** (config.channelMult.length - 1);
    return [{ batch: 1, height: side, width: side, gradient: true }];
  },
  allowTrailingOnes: true,
  record(g, w, config, { batch: B, height, width, gradient = false }) {
    const found = classifier(config, w, {
      sample: g.input('sample', [B, config.inChannels, height, width]),
      timestep: g.input('timestep', [B, config.modelChannels]),
      classLabels: gradient ? g.input('classLabels', [B], { dtype: 'u32' }) : undefined,
    });
    g.output('out', toNchw(reshape(found.logits, [B, 1, 1, config.outChannels])));
    if (found.gradient) g.output('gradient', found.gradient);
  },
};

/** `EncoderUNetModel` on a device: which class a noisy picture is of, and which way it would be more so. */
export class AdmClassifier extends Network<ClassifierConfig, ClassifierShape> {
  /**
   * Loads `config.json`, the constructor's arguments beside `_class_name`, and the weights beside it.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<AdmClassifier> {
    return new AdmClassifier(await LoadedModel.load(device, source, definition, options));
  }

  /**
   * Logits [B,N] of noisy pictures [B,C,H,W], valid until the next call.
   * @throws InvalidArgumentError, ShapeError for inputs that do not fit, or after {@link dispose}; LimitError where the
   * size does not fit the device; OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost
   * device leave it usable.
   */
  async forward(call: ClassifierCall): Promise<ModelOutput> {
    return this.flat(await this.model.run(this.shapeOf(call), this.inputsOf(call), call));
  }

  /**
   * Logits [B,N] and ∇ log p(class | sample) by the sample, [B,C,H,W], of a class per item; valid until the next call.
   * @throws as {@link forward}
   */
  async gradient(
    call: ClassifierCall & { classLabels: readonly number[] },
  ): Promise<{ logits: ModelOutput; gradient: ModelOutput }> {
    const inputs = this.inputsOf(call);
    const classLabels = classIds('EncoderUNetModel', call.classLabels, call.sample.shape[0], this.config.outChannels);
    const shape = { ...this.shapeOf(call), gradient: true };
    const { out, gradient } = await this.model.runAll(shape, { ...inputs, classLabels }, call);
    return { logits: this.flat(out), gradient };
  }

  private shapeOf({ sample }: ClassifierCall): ClassifierShape {
    const [batch, , height, width] = sample.shape;
    return { batch, height, width };
  }

  private inputsOf({ sample, timestep }: ClassifierCall) {
    checkTensorInput('EncoderUNetModel', 'sample', sample);
    const { inChannels, modelChannels } = this.config;
    const [batch, channels] = sample.shape;
    if (channels !== inChannels) {
      throw new InvalidArgumentError(`EncoderUNetModel: expected ${inChannels} channels, got ${channels}`);
    }
    const features = admTimeFeatures('EncoderUNetModel', timestep, batch, modelChannels);
    return { sample: sample.data, timestep: features };
  }

  /** [B,N,1,1] as [B,N]. */
  private flat(out: ModelOutput): ModelOutput {
    return { shape: out.shape.slice(0, 2), buffer: out.buffer, read: () => out.read() };
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export function classifierWeights(config: ClassifierConfig): ReadonlyMap<string, readonly number[]> {
  return weightsOf(definition, config);
}

/** What a call takes, by default at the limits that every adapter has. @throws as {@link AdmClassifier.plan} */
export function planAdmClassifier(
  config: ClassifierConfig,
  shape: ClassifierShape,
  dtype: 'f32' | 'f16' = 'f32',
  caps?: Capabilities,
): Report {
  return planModel(definition, config, shape, dtype, caps);
}
