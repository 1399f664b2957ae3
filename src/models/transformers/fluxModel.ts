/** `FluxTransformer2DModel` on a device: load it once, call it with any batch, size and length of text. */
import { InvalidArgumentError, type Device, type Graph } from '../../engine/index.ts';
import { LoadedModel, type ModelDefinition } from '../loadedModel.ts';
import { setLoras, type LoraUse } from '../lora/mergeLoras.ts';
import type { ModelOutput, RunOptions, TensorInput } from '../modelRuntime.ts';
import { Network } from '../network.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import type { WeightScope } from '../weightScope.ts';
import { flux } from './flux.ts';
import { readFluxConfig, type FluxConfig } from './fluxConfig.ts';
import { perItem, shapeOf } from './inputs.ts';
import { fluxImageIds } from './packing.ts';
import { rotaryTable } from './positions.ts';
import { features, FEATURES } from './textConditioning.ts';

/** One evaluation of the network. */
export interface FluxCall extends RunOptions {
  /** Packed latents [B,T,inChannels]; see {@link packLatents}. */
  hiddenStates: TensorInput;
  /** One for the batch, or one per item: t of the flow, 0 … 1. */
  timestep: number | readonly number[];
  /** Tokens of the text [B,S,jointAttentionDim]. */
  encoderHiddenStates: TensorInput;
  /** The pooled text [B,pooledProjectionDim]. */
  pooledProjections: TensorInput;
  /** The distilled guidance scale, one for the batch or per item; for a config with guidanceEmbeds, and only there. */
  guidance?: number | readonly number[];
  /** Positions [T,axes] of the latents' tokens; without them, `grid` gives those of a picture. */
  imageIds?: ArrayLike<number>;
  /** Rows and columns of the packed latents, T in all. */
  grid?: readonly [number, number];
  /** Positions [S,axes] of the text's tokens; default 0. */
  textIds?: ArrayLike<number>;
}

/** Batch of a call, tokens of its packed latents and of its text. */
export interface FluxShape {
  batch: number;
  /** ≥ 1. */
  imageTokens: number;
  /** ≥ 1. */
  textTokens: number;
}

const WHERE = 'FluxTransformer2DModel';

/** Its weights and recordings. */
export const fluxDefinition: ModelDefinition<FluxConfig, FluxShape> = {
  className: WHERE,
  readConfig: readFluxConfig,
  record,
  probes: () => [{ batch: 1, imageTokens: 1, textTokens: 1 }],
};

function record(g: Graph, w: WeightScope, config: FluxConfig, { batch: B, imageTokens, textTokens }: FluxShape): void {
  const { inChannels, headDim, jointAttentionDim, pooledProjectionDim, guidanceEmbeds } = config;
  const out = flux(config, w, {
    tokens: g.input('tokens', [B, imageTokens, inChannels]),
    text: g.input('text', [B, textTokens, jointAttentionDim]),
    pooled: g.input('pooled', [B, pooledProjectionDim]),
    timestep: g.input('timestep', [B, FEATURES]),
    guidance: guidanceEmbeds ? g.input('guidance', [B, FEATURES]) : undefined,
    rotary: g.input('rotary', [textTokens + imageTokens, 2, 4 * Math.ceil(headDim / 4)]),
  });
  g.output('out', out);
}

/** The transformer of Flux on a device: the flow's velocity at packed latents. Black Forest Labs 2024. */
export class FluxTransformer extends Network<FluxConfig, FluxShape> {
  /**
   * Loads `config.json` and the weights beside it.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<FluxTransformer> {
    return new FluxTransformer(await LoadedModel.load(device, source, fluxDefinition, options));
  }

  /**
   * Predicts from packed latents, one call at a time. Result [B,T,patch²·outChannels], valid until the next call.
   * @throws InvalidArgumentError, ShapeError for inputs that do not fit, or after {@link dispose}; LimitError where the
   * size does not fit the device; OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost
   * device leave it usable.
   */
  async forward(call: FluxCall): Promise<ModelOutput> {
    const { inChannels, jointAttentionDim, pooledProjectionDim, axesDimsRope } = this.config;
    const { hiddenStates: tokens, encoderHiddenStates: text, pooledProjections: pooled } = call;
    const [batch, imageTokens] = shapeOf(WHERE, 'hiddenStates', tokens, ['B', 'T', inChannels]);
    const [, textTokens] = shapeOf(WHERE, 'encoderHiddenStates', text, [batch, 'S', jointAttentionDim]);
    shapeOf(WHERE, 'pooledProjections', pooled, [batch, pooledProjectionDim]);
    const rotary = rotaryTable(this.ids(call, imageTokens, textTokens), axesDimsRope);
    const timestep = features(thousandfold(perItem(WHERE, 'timestep', call.timestep, batch)));
    const inputs = { tokens: tokens.data, text: text.data, pooled: pooled.data, timestep, rotary };
    const guidance = this.guidance(call, batch);
    const form: FluxShape = { batch, imageTokens, textTokens };
    return this.model.run(form, guidance ? { ...inputs, guidance } : inputs, call);
  }

  /**
   * Merges adapters of low rank into the weights, in place of those before; none at all give back the file's weights,
   * bit by bit. Waits for calls under way.
   * @throws WeightError naming keys of an adapter for another model, and then nothing changes; AbortedError,
   * DeviceLostError.
   */
  setLoras(uses: readonly LoraUse[], options: { signal?: AbortSignal } = {}): Promise<void> {
    return setLoras(this.model, 'transformer', uses, options);
  }

  private guidance({ guidance }: FluxCall, batch: number): Float32Array | undefined {
    const { guidanceEmbeds } = this.config;
    if (guidanceEmbeds !== (guidance !== undefined)) {
      throw new InvalidArgumentError(
        guidanceEmbeds
          ? `${WHERE}: expected guidance, which this network was distilled with, got none; 3.5 is usual`
          : `${WHERE}: expected no guidance, the config has guidance_embeds false; omit it`,
      );
    }
    return guidance === undefined ? undefined : features(thousandfold(perItem(WHERE, 'guidance', guidance, batch)));
  }

  /** Positions of all tokens, the text's first. */
  private ids({ imageIds, textIds, grid }: FluxCall, T: number, S: number): Float32Array {
    const axes = this.config.axesDimsRope.length;
    const image = imageIds ?? (grid && fluxImageIds(...grid, axes));
    if (image?.length !== T * axes) {
      throw new InvalidArgumentError(
        `${WHERE}: expected imageIds [${T},${axes}] or a grid of ${T} tokens, got ${image?.length ?? 0} values`,
      );
    }
    const text = textIds ?? new Float32Array(S * axes);
    if (text.length !== S * axes) {
      throw new InvalidArgumentError(`${WHERE}: expected textIds [${S},${axes}], got ${text.length} values`);
    }
    const all = new Float32Array((S + T) * axes);
    all.set(text);
    all.set(image, S * axes);
    return all;
  }
}

/** The network is told thousandths, in f32. */
const thousandfold = (values: readonly number[]) => values.map((v) => Math.fround(Math.fround(v) * 1000));
