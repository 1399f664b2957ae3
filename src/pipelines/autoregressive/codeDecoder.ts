/** Autoencoders with codebooks, whatever their layout: codes of one or two levels to pictures and back. */
import type { Device, Profile, Report } from '../../engine/index.ts';
import { antixkVqVae, vqVae, type VqVaeCall } from '../../models/autoencoders/vqVae.ts';
import { vqVae2, type VqVae2Call } from '../../models/autoencoders/vqVae2.ts';
import { LoadedModel } from '../../models/loadedModel.ts';
import type { ModelOutput, RunOptions } from '../../models/modelRuntime.ts';
import type { LoadOptions, OpenedModel } from '../../models/modelSource.ts';
import { VQModel } from '../../models/vq/vqModel.ts';
import type { Codes } from '../autoencoder/autoencoderPipeline.ts';
import type { Part } from '../run/basePipeline.ts';
import type { Planes } from '../picture/imageInput.ts';
import type { CodeLevels } from './options.ts';

/** Pictures at once, and their size in pixels. */
export interface PixelShape {
  batch: number;
  height: number;
  width: number;
}

/** An autoencoder with a codebook on each of its levels. */
export interface CodeDecoder extends Part {
  readonly levels: 1 | 2;
  /** Pixels per code of the finest level, along each side. */
  readonly cell: number;
  /** Entries of a codebook. */
  readonly entries: number;
  /** Of pictures. */
  readonly channels: number;
  /** Codes → pictures [B,C,H,W], valid until the next call. */
  decode(codes: CodeLevels, options: RunOptions): Promise<ModelOutput>;
  /** Pictures [B,C,H,W] → codes. */
  encode(image: Planes, options: RunOptions): Promise<CodeLevels>;
  plan(shape: PixelShape): Report;
  profile(shape: PixelShape, options?: RunOptions): Promise<Profile>;
}

/**
 * Loads an autoencoder by the class in its config.
 * @throws ConfigError, WeightError naming keys, FormatError, OutOfMemoryError, AbortedError
 */
export async function loadCodeDecoder(device: Device, opened: OpenedModel, load: LoadOptions): Promise<CodeDecoder> {
  switch (opened.config._class_name) {
    case 'VQVAE2':
      return twoLevels(await LoadedModel.load(device, opened, vqVae2, load));
    case 'VQModel':
      return ofVqModel(await VQModel.load(device, opened, load));
    case 'VQVAE': {
      const model = await LoadedModel.load(device, opened, antixkVqVae, load);
      const { inChannels: channels, numEmbeddings: entries, hiddenDims } = model.config;
      return oneLevel(model, { channels, entries, cell: 2 ** hiddenDims.length });
    }
    default: {
      const model = await LoadedModel.load(device, opened, vqVae, load);
      const { config } = model;
      return oneLevel(model, { channels: config.inChannels, entries: config.nEmbed, cell: 4 });
    }
  }
}

/** Ids are u32, which a read gives as the bits of f32. */
async function codesOf(out: ModelOutput, [batch, height, width]: readonly number[]): Promise<Codes> {
  const { buffer, byteOffset, length } = await out.read();
  return { data: new Uint32Array(buffer, byteOffset, length).slice(), shape: [batch, height, width] };
}

/** What the layouts with one level differ in. */
interface Facts {
  channels: number;
  entries: number;
  cell: number;
}

function oneLevel<Config>(model: LoadedModel<Config, VqVaeCall>, { channels, entries, cell }: Facts): CodeDecoder {
  const decoding = ({ batch, height, width }: PixelShape): VqVaeCall => {
    return { part: 'decodeIds', batch, height: height / cell, width: width / cell };
  };
  return {
    levels: 1,
    cell,
    entries,
    channels,
    decode({ top: { data, shape } }, options) {
      const [batch, height, width] = shape;
      return model.run({ part: 'decodeIds', batch, height, width }, { ids: data }, options);
    },
    async encode({ data, shape: [batch, , height, width] }, options) {
      const { ids } = await model.runAll({ part: 'encode', batch, height, width }, { x: hosted(data) }, options);
      return { top: await codesOf(ids, [batch, height / cell, width / cell]) };
    },
    plan: (shape) => model.plan(decoding(shape)),
    profile: (shape, options) => model.profile(decoding(shape), options),
    get weightBytes() {
      return model.weightBytes;
    },
    dispose: () => model.dispose(),
  };
}

function twoLevels<Config extends { inChannels: number; nEmbed: number }>(
  model: LoadedModel<Config, VqVae2Call>,
): CodeDecoder {
  const decoding = (shape: PixelShape): VqVae2Call => ({ part: 'decodeCode', ...shape });
  return {
    levels: 2,
    cell: 4,
    entries: model.config.nEmbed,
    channels: model.config.inChannels,
    decode({ top, bottom }, options) {
      const [batch, h, w] = top.shape;
      const inputs = { idsTop: top.data, idsBottom: bottom!.data };
      return model.run(decoding({ batch, height: 8 * h, width: 8 * w }), inputs, options);
    },
    async encode({ data, shape: [batch, , height, width] }, options) {
      const out = await model.runAll({ part: 'encode', batch, height, width }, { x: hosted(data) }, options);
      // Asked for at once: another call of the model would write over what is not asked for yet.
      const [top, bottom] = await Promise.all([
        codesOf(out.idsTop, [batch, height / 8, width / 8]),
        codesOf(out.idsBottom, [batch, height / 4, width / 4]),
      ]);
      return { top, bottom };
    },
    plan: (shape) => model.plan(decoding(shape)),
    profile: (shape, options) => model.profile(decoding(shape), options),
    get weightBytes() {
      return model.weightBytes;
    },
    dispose: () => model.dispose(),
  };
}

function ofVqModel(model: VQModel): CodeDecoder {
  const { numVqEmbeddings: entries, inChannels: channels, vqEmbedDim } = model.config;
  const cell = model.downsampling;
  const decoding = ({ batch, height, width }: PixelShape) => {
    return { part: 'decodeIndices', batch, channels: vqEmbedDim, height: height / cell, width: width / cell } as const;
  };
  return {
    levels: 1,
    cell,
    entries,
    channels,
    decode: ({ top }, options) => model.decodeIndices({ indices: top, ...options }),
    async encode(image, options) {
      const codes = await model.encodeToIndices({ image, ...options });
      const [B, h, w] = codes.shape;
      return { top: { data: await codes.read(), shape: [B, h, w] } };
    },
    plan: (shape) => model.plan(decoding(shape)),
    profile: (shape, options) => model.profile(decoding(shape), options),
    get weightBytes() {
      return model.weightBytes;
    },
    dispose: () => model.dispose(),
  };
}

const hosted = (data: Float32Array<ArrayBufferLike>): Float32Array => Float32Array.from(data);
