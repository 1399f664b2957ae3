/** `ControlNetModel` on a device: load it once, call it with any batch, size and strength. */
import type { Capabilities, Device, Profile, Report } from '../../engine/index.ts';
import { fromNchw, toNchw } from '../../kernels/index.ts';
import { LoadedModel, planModel, weightsOf, type ModelDefinition } from '../loadedModel.ts';
import type { ModelOutput, RunOptions, TensorData, TensorInput } from '../modelRuntime.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import { shapeOf } from '../transformers/inputs.ts';
import {
  declareConditions,
  planForm,
  probeForm,
  readConditions,
  type ConditionArguments,
  type ConditionForm,
} from '../unetCondition/conditionInputs.ts';
import { MaskLengths } from '../unetCondition/maskLengths.ts';
import { controlFactor, controlNet, type ControlStrength } from './controlNet.ts';
import { readControlNetConfig, type ControlNetConfig } from './controlNetConfig.ts';

/** One evaluation of the network. */
export interface ControlNetCall extends RunOptions, Omit<ConditionArguments, 'encoderAttentionMask'> {
  /** The U-Net's sample [B,C,H,W]. */
  sample: TensorInput;
  /** The picture that controls, RGB [B,conditioningChannels,H·f,W·f]; eight times the sample as published. */
  controlnetCond: TensorInput;
  /** Factor on all residuals; default 1. */
  conditioningScale?: number;
  /** Finer levels say less, down to a tenth; default false. */
  guessMode?: boolean;
}

/** A residual on the GPU, as the U-Net takes it. Valid until the next call of the ControlNet that made it. */
export type ControlOutput = ModelOutput & TensorInput;

/** What of a call changes the recording. */
interface Form extends ConditionForm, ControlStrength {
  height: number;
  width: number;
  picture: readonly [number, number];
}

/** Batch and size of a call, in cells of the sample; with them the tokens of the context. */
export interface ControlNetShape {
  batch: number;
  height: number;
  width: number;
  /** Default 77. */
  tokens?: number;
}

const NAME = 'ControlNetModel';

const definition: ModelDefinition<ControlNetConfig, Form> = {
  className: NAME,
  readConfig: readControlNetConfig,
  probes(config) {
    const side = 2 ** config.blockOutChannels.length;
    return [formOf(config, probeForm(config, side), { batch: 1, height: side, width: side })];
  },
  record(g, w, config, form) {
    const { batch: B, height, width, picture } = form;
    const { down, mid } = controlNet(
      config,
      w,
      {
        ...declareConditions(g, config, form),
        sample: fromNchw(g.input('sample', [B, config.inChannels, height, width])),
        picture: fromNchw(g.input('controlnetCond', [B, config.conditioningChannels, ...picture])),
      },
      form,
    );
    down.forEach((residual, i) => g.output(`down.${i}`, toNchw(residual)));
    g.output('mid', toNchw(mid));
  },
};

function formOf(config: ControlNetConfig, conditions: ConditionForm, shape: ControlNetShape): Form {
  const { batch, height, width } = shape;
  const f = controlFactor(config);
  return { ...conditions, batch, height, width, picture: [f * height, f * width], scale: 1, guess: false };
}

/** `ControlNetModel` on a device: what a picture adds to a U-Net's states. Zhang et al. 2023, section 3. */
export class ControlNet {
  private readonly lengths = new MaskLengths(definition);

  private constructor(private readonly model: LoadedModel<ControlNetConfig, Form>) {}

  /**
   * Loads `config.json` and the weights beside it.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<ControlNet> {
    return new ControlNet(await LoadedModel.load(device, source, definition, options));
  }

  /** The fields of `config.json`. */
  get config(): ControlNetConfig {
    return this.model.config;
  }

  /**
   * Residuals for a U-Net's `controls`: one per state of its way down, finest first, and one for its middle, each
   * [B,C,h,w] (or [B,C,1,1]), valid until the next call. Several ControlNets act at once by all their results.
   * @throws InvalidArgumentError, ShapeError for inputs that do not fit, or after {@link dispose}; LimitError where the
   * size does not fit the device; OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost
   * device leave it usable.
   */
  async forward(call: ControlNetCall): Promise<{ down: ControlOutput[]; mid: ControlOutput }> {
    const { config } = this;
    const { sample, controlnetCond, conditioningScale: scale = 1, guessMode: guess = false } = call;
    const [batch, , height, width] = shapeOf(NAME, 'sample', sample, ['B', config.inChannels, 'H', 'W']);
    const wanted = [batch, config.conditioningChannels, 'H', 'W'];
    const [, , ...picture] = shapeOf(NAME, 'controlnetCond', controlnetCond, wanted);
    const conditions = readConditions(NAME, config, batch, call);
    const inputs: Record<string, TensorData | Uint32Array> = {
      ...conditions.inputs,
      sample: sample.data,
      controlnetCond: controlnetCond.data,
    };
    const form: Form = { ...conditions.form, height, width, picture: [picture[0], picture[1]], scale, guess };
    Object.assign(inputs, conditions.masks(this.lengths.of(config, form)));
    const outputs = await this.model.runAll(form, inputs, call);
    const taken = (name: string): ControlOutput => ({ ...outputs[name], data: outputs[name].buffer });
    const { length } = Object.keys(outputs);
    return { down: Array.from({ length: length - 1 }, (_, i) => taken(`down.${i}`)), mid: taken('mid') };
  }

  /** Where the time of a call of that shape goes, dispatch by dispatch. @throws as {@link forward} */
  profile(shape: ControlNetShape, options?: RunOptions): Promise<Profile> {
    return this.model.profile(planned(this.config, shape), options);
  }

  /**
   * What a call of that shape takes here; nothing is allocated.
   * @throws LimitError when it does not fit; InvalidArgumentError, ShapeError for a shape that the network cannot have.
   */
  plan(shape: ControlNetShape): Report {
    return this.model.plan(planned(this.config, shape));
  }

  /** Bytes of the weights on the GPU. */
  get weightBytes(): number {
    return this.model.weightBytes;
  }

  /** Releases programs and weights; while a call is under way, as soon as it ends. */
  dispose(): void {
    this.model.dispose();
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export function controlNetWeights(config: ControlNetConfig): ReadonlyMap<string, readonly number[]> {
  return weightsOf(definition, config);
}

/**
 * What a call takes, by default at the limits that every adapter has; needs neither weights nor device.
 * @throws as {@link ControlNet.plan}.
 */
export function planControlNet(
  config: ControlNetConfig,
  shape: ControlNetShape,
  dtype?: 'f32' | 'f16',
  caps?: Capabilities,
): Report {
  return planModel(definition, config, planned(config, shape), dtype, caps);
}

const planned = (config: ControlNetConfig, shape: ControlNetShape) =>
  formOf(config, planForm(config, shape.height, shape.tokens), shape);
