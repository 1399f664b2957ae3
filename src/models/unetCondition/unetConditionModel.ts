/** `UNet2DConditionModel` on a device: load it once, call it with any batch, size and conditions. */
import { InvalidArgumentError, type Capabilities, type Device, type Profile, type Report } from '../../engine/index.ts';
import { fromNchw, reshape, toNchw } from '../../kernels/index.ts';
import { gatedWeights, isGated } from '../blocks/gatedSelfAttention.ts';
import { LoadedModel, planModel, weightsOf, type ModelDefinition } from '../loadedModel.ts';
import { setLoras, type LoraUse } from '../lora/mergeLoras.ts';
import type { ModelOutput, ModelOutputs, RunOptions, TensorData, TensorInput } from '../modelRuntime.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import { shapeOf } from '../transformers/inputs.ts';
import { AttentionMaps, declareSelection, selection, type AttendedTokens } from './attentionMaps.ts';
import {
  declareConditions,
  planForm,
  probeForm,
  readConditions,
  type ConditionArguments,
  type ConditionForm,
} from './conditionInputs.ts';
import { MaskLengths } from './maskLengths.ts';
import { missingFeatures } from './objects.ts';
import { unetCondition } from './unetCondition.ts';
import { readUNetConditionConfig, type UNetConditionConfig } from './unetConditionConfig.ts';

/** What a ControlNet adds to a U-Net. */
export interface ControlResiduals {
  /** To each state of the way down, finest first: [B,C,h,w], or [B,C,1,1] for the whole map. */
  down: readonly TensorInput[];
  /** To the middle. */
  mid: TensorInput;
}

/** One evaluation of the network. */
export interface UNet2DConditionCall extends RunOptions, ConditionArguments {
  /** [B,C,H,W]. */
  sample: TensorInput;
  /** What one or several ControlNets say; their sum is added. */
  controls?: ControlResiduals | readonly ControlResiduals[];
  /** Of a T2I adapter: one map per level, and perhaps one for the middle. */
  downIntrablockAdditionalResiduals?: readonly TensorInput[];
}

/** What of a call changes the recording. */
export interface UNet2DConditionForm extends ConditionForm {
  height: number;
  width: number;
  controls: readonly { down: readonly (readonly number[])[]; mid: readonly number[] }[];
  adapters: readonly (readonly number[])[];
  /** Tokens per picture whose attention is wanted, and those of the context; absent where none is. */
  attended?: { tokens: number; of: number };
}

/** Batch and size of a call; with them the tokens of the context and the number of ControlNets. */
export interface UNet2DConditionShape {
  batch: number;
  height: number;
  width: number;
  /** Default 77. */
  tokens?: number;
}

const NAME = 'UNet2DConditionModel';

const definition: ModelDefinition<UNetConditionConfig, UNet2DConditionForm> = {
  className: NAME,
  readConfig: readUNetConditionConfig,
  hostWeights: ({ timeEmbeddingType, objectAttention }) => [
    ...(timeEmbeddingType === 'fourier' ? ['time_proj.weight'] : []),
    ...missingFeatures(objectAttention),
  ],
  derive: (stored) => (stored.keys().some((key) => key.endsWith('.fuser.alpha_attn')) ? gatedWeights(stored) : stored),
  probes(config) {
    // Large enough to be halved by every level, and for a kernel of even side, which takes a row.
    const side = 2 ** config.blockOutChannels.length + ((config.convInKernel + 1) % 2);
    return [formOf(probeForm(config, side), { batch: 1, height: side, width: side })];
  },
  record(g, w, config, form) {
    const { batch: B, height, width } = form;
    const map = (name: string, shape: readonly number[]) => {
      const x = fromNchw(g.input(name, shape)); // [B,h,w,C]
      return shape[2] === 1 && shape[3] === 1 ? reshape(x, [shape[0], shape[1]]) : x;
    };
    const { scale, offset } = config.centerInputSample ? { scale: 2, offset: -1 } : { scale: 1, offset: 0 };
    const { attended: of } = form;
    const maps = of && new AttentionMaps(declareSelection(g, B, of.of, selectWidth(config, of.tokens)), of.tokens);
    const out = unetCondition(config, w, {
      ...declareConditions(g, config, form),
      sample: fromNchw(g.input('sample', [B, sampleChannels(config), height, width]), { scale, offset }),
      controls: form.controls.map(({ down, mid }, n) => ({
        down: down.map((shape, i) => map(`control${n}.${i}`, shape)),
        mid: map(`control${n}.mid`, mid),
      })),
      adapters: form.adapters.map((shape, i) => fromNchw(g.input(`adapter${i}`, shape))),
      probe: maps?.probe,
    });
    g.output('out', toNchw(out));
    maps?.output(g);
  },
};

/** Channels of the selection of n tokens: n, and a widest head behind, so that every head can take its own width. */
const selectWidth = ({ blockOutChannels, attentionHeadDim }: UNetConditionConfig, n: number) =>
  n + Math.max(...blockOutChannels.map((C, level) => Math.floor(C / attentionHeadDim[level])));

/** A hint fills the last four channels. */
const sampleChannels = ({ inChannels, addition }: UNetConditionConfig) =>
  addition === 'image_hint' ? inChannels - 4 : inChannels;

function formOf(conditions: ConditionForm, { batch, height, width }: UNet2DConditionShape): UNet2DConditionForm {
  return { ...conditions, batch, height, width, controls: [], adapters: [] };
}

/**
 * `UNet2DConditionModel` on a device: noise (or v) from a noisy sample, a timestep and a context. Rombach et al. 2022,
 * section 3.3.
 */
export class UNet2DCondition {
  private readonly lengths = new MaskLengths(definition);

  private constructor(private readonly model: LoadedModel<UNetConditionConfig, UNet2DConditionForm>) {}

  /**
   * Loads `config.json` and the weights beside it.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<UNet2DCondition> {
    return new UNet2DCondition(await LoadedModel.load(device, source, definition, options));
  }

  /** The fields of `config.json`. */
  get config(): UNetConditionConfig {
    return this.model.config;
  }

  /**
   * Predicts from a noisy sample [B,inChannels,H,W], of any size; one call at a time. Result [B,outChannels,H,W], valid
   * until the next call.
   * @throws InvalidArgumentError, ShapeError for inputs that do not fit, or after {@link dispose}; LimitError where the
   * size does not fit the device; OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost
   * device leave it usable.
   */
  async forward(call: UNet2DConditionCall): Promise<ModelOutput> {
    return (await this.call(call)).out;
  }

  /**
   * As {@link forward}, and where the network looks for chosen tokens of its context: `maps`, one per size of its
   * levels, [B,n,h,w]; their sum, enlarged, is the probability that cross-attention gives the token at each pixel,
   * averaged over heads and layers. All are valid until the next call.
   * @param tokens n places in the context for each item of the batch
   * @throws as {@link forward}; UnsupportedError for a network without transformers over its pixels
   */
  async attend(
    call: UNet2DConditionCall & { tokens: AttendedTokens },
  ): Promise<{ out: ModelOutput; maps: readonly ModelOutput[] }> {
    const { tokens } = call;
    const [batch] = call.sample.shape;
    const n = tokens[0]?.length ?? 0;
    const S = call.encoderHiddenStates?.shape[1] ?? 0;
    const fits = (row: readonly number[]) =>
      row.length === n && row.every((token) => Number.isInteger(token) && token >= 0 && token < S);
    if (n === 0 || tokens.length !== batch || !tokens.every(fits)) {
      throw new InvalidArgumentError(
        `${NAME} attend: expected as many tokens in 0 … ${S - 1} for each of ${batch} items, got ${JSON.stringify(tokens)}`,
      );
    }
    const { out, ...others } = await this.call(call, tokens);
    return { out, maps: Object.values(others) };
  }

  private async call(call: UNet2DConditionCall, tokens?: AttendedTokens): Promise<ModelOutputs> {
    const { config } = this;
    const [batch, , height, width] = shapeOf(NAME, 'sample', call.sample, ['B', sampleChannels(config), 'H', 'W']);
    const conditions = readConditions(NAME, config, batch, call, (key) => this.model.hostWeight(key));
    const inputs: Record<string, TensorData | Uint32Array> = { ...conditions.inputs, sample: call.sample.data };
    const sets = call.controls === undefined ? [] : [call.controls].flat();
    const controls = sets.map(({ down, mid }, n) => ({
      down: down.map((t, i) => this.map(inputs, `control${n}.${i}`, t, batch)),
      mid: this.map(inputs, `control${n}.mid`, mid, batch),
    }));
    const given = call.downIntrablockAdditionalResiduals ?? [];
    const adapters = given.map((t, i) => this.map(inputs, `adapter${i}`, t, batch));
    const form: UNet2DConditionForm = { ...conditions.form, height, width, controls, adapters };
    Object.assign(inputs, conditions.masks(this.lengths.of(config, form)));
    if (!tokens) return this.model.runAll(form, inputs, call);
    const [n, S] = [tokens[0].length, call.encoderHiddenStates!.shape[1]];
    inputs.select = selection(tokens, S, selectWidth(config, n));
    return this.model.runAll({ ...form, attended: { tokens: n, of: S } }, inputs, call);
  }

  /** Where the time of a call of that shape goes, dispatch by dispatch. @throws as {@link forward} */
  profile(shape: UNet2DConditionShape, options?: RunOptions): Promise<Profile> {
    return this.model.profile(planned(this.config, shape), options);
  }

  /**
   * What a call of that shape takes here; nothing is allocated.
   * @throws LimitError when it does not fit; InvalidArgumentError, ShapeError for a shape that the network cannot have.
   */
  plan(shape: UNet2DConditionShape): Report {
    return this.model.plan(planned(this.config, shape));
  }

  /**
   * Merges adapters of low rank into the weights, in place of those before; none at all give back the file's weights,
   * bit by bit. Waits for calls under way.
   * @throws WeightError naming keys of an adapter for another model, and then nothing changes; AbortedError,
   * DeviceLostError.
   */
  setLoras(uses: readonly LoraUse[], options: { signal?: AbortSignal } = {}): Promise<void> {
    const { model } = this;
    // Layers behind a gate are stored without it: an adapter of one is refused, as one of a layer that is not there.
    const weights = new Map([...model.weights].filter(([key]) => !isGated(key)));
    return setLoras({ weights, changeWeights: model.changeWeights.bind(model) }, 'unet', uses, options);
  }

  /** Bytes of the weights on the GPU. */
  get weightBytes(): number {
    return this.model.weightBytes;
  }

  /** Releases programs and weights; while a call is under way, as soon as it ends. */
  dispose(): void {
    this.model.dispose();
  }

  private map(
    inputs: Record<string, TensorData | Uint32Array>,
    name: string,
    tensor: TensorInput,
    batch: number,
  ): readonly number[] {
    inputs[name] = tensor.data;
    return shapeOf(NAME, name, tensor, [batch, 'C', 'h', 'w']);
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export function unet2dConditionWeights(config: UNetConditionConfig): ReadonlyMap<string, readonly number[]> {
  return weightsOf(definition, config);
}

/**
 * What a call takes, by default at the limits that every adapter has; needs neither weights nor device.
 * @throws as {@link UNet2DCondition.plan}.
 */
export function planUNet2DCondition(
  config: UNetConditionConfig,
  shape: UNet2DConditionShape,
  dtype?: 'f32' | 'f16',
  caps?: Capabilities,
): Report {
  return planModel(definition, config, planned(config, shape), dtype, caps);
}

const planned = (config: UNetConditionConfig, shape: UNet2DConditionShape) =>
  formOf(planForm(config, shape.height, shape.tokens), shape);
