/** `SD3Transformer2DModel` on a device: load it once, call it with any batch, size and length of text. */
import { InvalidArgumentError, WeightError, type Device, type Graph } from '../../engine/index.ts';
import { decode, DTYPE_BYTES, findNonFinite, type Checkpoint, type Dtype } from '../../loading/index.ts';
import { LoadedModel, type ModelDefinition } from '../loadedModel.ts';
import { setLoras, type LoraUse } from '../lora/mergeLoras.ts';
import type { ModelOutput, RunOptions, TensorInput } from '../modelRuntime.ts';
import { Network } from '../network.ts';
import { openModel, type LoadOptions, type ModelSource } from '../modelSource.ts';
import type { WeightScope } from '../weightScope.ts';
import { Cached, perItem, shapeOf } from './inputs.ts';
import { gridPositions, paddedRows } from './positions.ts';
import { sd3 } from './sd3.ts';
import { readSD3Config, type SD3Config } from './sd3Config.ts';
import { features, FEATURES } from './textConditioning.ts';

/** One evaluation of the network. */
export interface SD3Call extends RunOptions {
  /** Latents [B,inChannels,H,W]; what patches do not cover at the right and bottom is dropped. */
  sample: TensorInput;
  /** One for the batch, or one per item: 1000·t of the flow, 0 … 1000. */
  timestep: number | readonly number[];
  /** Tokens of the text [B,S,jointAttentionDim]. */
  encoderHiddenStates: TensorInput;
  /** The pooled text [B,pooledProjectionDim]. */
  pooledProjections: TensorInput;
}

/** Batch and size of a call, in latents, and tokens of its text. */
export interface SD3Shape {
  batch: number;
  height: number;
  width: number;
  /** ≥ 1. */
  textTokens: number;
}

const WHERE = 'SD3Transformer2DModel';
const TABLE = 'pos_embed.pos_embed';

/** Its weights and recordings. */
export const sd3Definition: ModelDefinition<SD3Config, SD3Shape> = {
  className: WHERE,
  readConfig: readSD3Config,
  record,
  probes: ({ patchSize }) => [{ batch: 1, height: patchSize, width: patchSize, textTokens: 1 }],
};

function record(g: Graph, w: WeightScope, config: SD3Config, { batch: B, height, width, textTokens }: SD3Shape): void {
  const { heads, headDim, inChannels, jointAttentionDim, pooledProjectionDim } = config;
  const [rows, columns] = gridOf(config, height, width);
  const out = sd3(config, w, {
    sample: g.input('sample', [B, inChannels, height, width]),
    text: g.input('text', [B, textTokens, jointAttentionDim]),
    pooled: g.input('pooled', [B, pooledProjectionDim]),
    timestep: g.input('timestep', [B, FEATURES]),
    positions: g.input('positions', [rows * columns, heads * headDim]),
  });
  g.output('out', out);
}

/** Patches of latents. @throws InvalidArgumentError where there are none, or more than there are positions. */
function gridOf({ patchSize, posEmbedMaxSize }: SD3Config, height: number, width: number): [number, number] {
  const [rows, columns] = [Math.floor(height / patchSize), Math.floor(width / patchSize)];
  const most = posEmbedMaxSize ?? Infinity;
  if (rows < 1 || columns < 1 || rows > most || columns > most) {
    throw new InvalidArgumentError(
      `${WHERE}: expected latents of ${patchSize} … ${most * patchSize} in height and width, got ${height}×${width}`,
    );
  }
  return [rows, columns];
}

/**
 * The transformer of Stable Diffusion 3 and 3.5 on a device: the flow's velocity at noisy latents. Esser et al. 2024.
 */
export class SD3Transformer extends Network<SD3Config, SD3Shape> {
  private readonly positions = new Cached<Float32Array>();

  private constructor(
    model: LoadedModel<SD3Config, SD3Shape>,
    private readonly table: StoredTable | undefined,
  ) {
    super(model);
  }

  /**
   * Loads `config.json` and the weights beside it.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<SD3Transformer> {
    const opened = await openModel(source, WHERE, options);
    const { config, checkpoint } = opened;
    try {
      const model = await LoadedModel.load(device, { config, checkpoint }, sd3Definition, options);
      try {
        const stored = model.config.posEmbedMaxSize !== null;
        return new SD3Transformer(model, stored ? await readTable(checkpoint, options.signal) : undefined);
      } catch (error) {
        model.dispose();
        throw error;
      }
    } finally {
      await opened.close();
    }
  }

  /**
   * Predicts from noisy latents, one call at a time. Result [B,outChannels,H,W], valid until the next call.
   * @throws InvalidArgumentError, ShapeError for inputs that do not fit, or after {@link dispose}; LimitError where the
   * size does not fit the device; OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost
   * device leave it usable.
   */
  async forward(call: SD3Call): Promise<ModelOutput> {
    const { inChannels, jointAttentionDim, pooledProjectionDim } = this.config;
    const { sample, encoderHiddenStates: text, pooledProjections: pooled } = call;
    const [batch, , height, width] = shapeOf(WHERE, 'sample', sample, ['B', inChannels, 'H', 'W']);
    const [, textTokens] = shapeOf(WHERE, 'encoderHiddenStates', text, [batch, 'S', jointAttentionDim]);
    shapeOf(WHERE, 'pooledProjections', pooled, [batch, pooledProjectionDim]);
    const inputs = {
      sample: sample.data,
      text: text.data,
      pooled: pooled.data,
      timestep: features(perItem(WHERE, 'timestep', call.timestep, batch)),
      positions: this.positions.get(`${height}×${width}`, () => this.positionsOf(height, width)),
    };
    return this.model.run({ batch, height, width, textTokens }, inputs, call);
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

  /** The middle of the stored table, or a table of that size. */
  private positionsOf(height: number, width: number): Float32Array {
    const { heads, headDim, sampleSize, patchSize, posEmbedMaxSize: side } = this.config;
    const D = heads * headDim;
    const [rows, columns] = gridOf(this.config, height, width);
    if (!this.table || side === null) {
      return gridPositions(D, { rows, columns, base: Math.floor(sampleSize / patchSize) });
    }
    const [top, left] = [Math.floor((side - rows) / 2), Math.floor((side - columns) / 2)];
    const crop = new Float32Array(rows * columns * D);
    for (let y = 0; y < rows; y++) {
      const from = ((top + y) * side + left) * D;
      this.table(from, crop.subarray(y * columns * D, (y + 1) * columns * D));
    }
    if (findNonFinite(crop) >= 0) {
      throw new WeightError(`${WHERE}: expected finite positions, got others in ${TABLE}; the file is damaged`, [
        TABLE,
      ]);
    }
    return paddedRows(crop, D);
  }
}

/** Elements from `first` on, into `out`. */
type StoredTable = (first: number, out: Float32Array) => void;

/** The table of positions as it is stored: a call needs the middle of it only, and in f32 all of it would be large. */
async function readTable(checkpoint: Checkpoint, signal: AbortSignal | undefined): Promise<StoredTable> {
  const bytes = await checkpoint.readRaw(TABLE, { signal });
  const dtype: Dtype = checkpoint.info(TABLE).dtype;
  const size = DTYPE_BYTES[dtype];
  return (first, out) => decode(dtype, bytes.subarray(first * size, (first + out.length) * size), out);
}
