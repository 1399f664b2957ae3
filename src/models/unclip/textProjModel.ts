/** `UnCLIPTextProjModel` on a device: embeddings to what unCLIP's decoder is told. */
import { InvalidArgumentError, type Capabilities, type Device, type Report } from '../../engine/index.ts';
import { LoadedModel, planModel, weightsOf, type ModelDefinition } from '../loadedModel.ts';
import type { ModelOutput, RunOptions, TensorInput } from '../modelRuntime.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import { Network } from '../network.ts';
import { shapeOf } from '../transformers/inputs.ts';
import { readUnclipTextProjConfig, unclipTextProj, type UnclipTextProjConfig } from './textProj.ts';

/** What changes the recording. */
export interface UnclipTextProjShape {
  batch: number;
  /** Of the text. */
  tokens: number;
}

/** A call of {@link UnCLIPTextProjModel.forward}. */
export interface UnclipTextProjCall extends RunOptions {
  /** Embeddings of the pictures [B,E], on the host. */
  imageEmbeddings: TensorInput & { data: Float32Array };
  /** Embeddings of the texts, [B,E], or [2B,E] where the first half stands for guidance without a picture. */
  promptEmbeds: TensorInput;
  /** States of the texts, as many, [B or 2B,S,E]. */
  textEncoderHiddenStates: TensorInput;
}

const NAME = 'UnCLIPTextProjModel';
const UNCONDITIONAL = 'learned_classifier_free_guidance_embeddings';

/** Its weights and recordings. */
export const unclipTextProjDefinition: ModelDefinition<UnclipTextProjConfig, UnclipTextProjShape> = {
  className: NAME,
  readConfig: readUnclipTextProjConfig,
  record(g, w, config, { batch: B, tokens }) {
    const E = config.clipEmbeddingsDim;
    const { context, classes } = unclipTextProj(config, w, {
      image: g.input('image', [B, E]),
      text: g.input('text', [B, E]),
      states: g.input('states', [B, tokens, E]),
    });
    g.output('context', context);
    g.output('classes', classes);
  },
  probes: () => [{ batch: 1, tokens: 1 }],
  hostWeights: () => [UNCONDITIONAL],
};

/** What unCLIP's decoder is told, on a device. Ramesh et al. 2022, section 2.1. */
export class UnCLIPTextProjModel extends Network<UnclipTextProjConfig, UnclipTextProjShape> {
  /**
   * Loads `config.json` and the weights beside it.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<UnCLIPTextProjModel> {
    return new UnCLIPTextProjModel(await LoadedModel.load(device, source, unclipTextProjDefinition, options));
  }

  /**
   * Context [N,extraTokens + S,crossAttentionDim] and class vectors [N,timeEmbedDim] for N texts. With twice as many
   * texts as pictures the first half is told of the learned embedding that stands for no picture. Valid until the next
   * call.
   * @throws InvalidArgumentError for inputs that do not fit, or after {@link dispose}; LimitError, OutOfMemoryError,
   * DeviceLostError, NonFiniteError, AbortedError; all but a lost device leave it usable.
   */
  async forward(call: UnclipTextProjCall): Promise<{ context: ModelOutput; classes: ModelOutput }> {
    const { imageEmbeddings, promptEmbeds, textEncoderHiddenStates, ...options } = call;
    const E = this.config.clipEmbeddingsDim;
    const [pictures] = shapeOf(NAME, 'imageEmbeddings', imageEmbeddings, ['B', E]);
    const [batch] = shapeOf(NAME, 'promptEmbeds', promptEmbeds, ['N', E]);
    const [, tokens] = shapeOf(NAME, 'textEncoderHiddenStates', textEncoderHiddenStates, [batch, 'S', E]);
    if (batch !== pictures && batch !== 2 * pictures) {
      throw new InvalidArgumentError(
        `${NAME}: expected promptEmbeds of ${pictures} texts, or of ${2 * pictures} with guidance, got ${batch}`,
      );
    }
    const image = new Float32Array(batch * E);
    image.set(imageEmbeddings.data, (batch - pictures) * E);
    const none = this.model.hostWeight(UNCONDITIONAL);
    for (let b = 0; b < batch - pictures; b++) image.set(none, b * E);
    const inputs = { image, text: promptEmbeds.data, states: textEncoderHiddenStates.data };
    const { context, classes } = await this.model.runAll({ batch, tokens }, inputs, options);
    return { context, classes };
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export function unclipTextProjWeights(config: UnclipTextProjConfig): ReadonlyMap<string, readonly number[]> {
  return weightsOf(unclipTextProjDefinition, config);
}

/** What a call takes at the limits that every adapter has. @throws LimitError */
export function planUnclipTextProj(
  config: UnclipTextProjConfig,
  shape: UnclipTextProjShape,
  dtype: 'f32' | 'f16' = 'f32',
  caps?: Capabilities,
): Report {
  return planModel(unclipTextProjDefinition, config, shape, dtype, caps);
}
