/**
 * Pictures from codes that a prior draws one after the other: PixelSNAIL over the top level of VQ-VAE-2, a second one
 * over the bottom level that reads the first, and the decoder; or one prior over the codes of a VQ-VAE with one level.
 * Razavi, van den Oord, Vinyals 2019, section 3.2, https://arxiv.org/abs/1906.00446
 *
 * A folder holds three files of the authors' (rosinality/vq-vae-2-pytorch) as safetensors, `vqvae….safetensors`,
 * `pixelsnail_top….safetensors` and `pixelsnail_bottom….safetensors`, or a `model_index.json`
 * (`{"_class_name": "VQVAE2Pipeline", "vqvae": ["vqvae", "VQVAE"], "top": ["pixelsnail", "PixelSNAIL"], "bottom": …}`;
 * `VQVAEPipeline` has no `bottom`) and a folder of weights for each part. `config.json` beside them is not needed:
 * sizes show in the weights.
 */
import { InvalidArgumentError, throwIfAborted, type Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/index.ts';
import type { RunOptions } from '../../models/modelRuntime.ts';
import type { CodeMap, PixelSnail } from '../../models/pixelSnail/pixelSnailModel.ts';
import { TorchGenerator } from '../../sampler/noise/torchGenerator.ts';
import type { Codes } from '../autoencoder/autoencoderPipeline.ts';
import {
  BasePipeline,
  loadParts,
  pictureCount,
  workOf,
  type Part,
  type RunShape,
  type Work,
} from '../run/basePipeline.ts';
import type { GeneratedImage } from '../picture/image.ts';
import { planesOf, type ImageInput } from '../picture/imageInput.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import { anyPicturesOf, expectPicture } from '../run/pixelDecoder.ts';
import { refuseOptions } from '../options/refuseOptions.ts';
import { codesOfPlanes, planesOfCodes } from './codePlanes.ts';
import { LEVELS, type CodeLevels, type CodePriorOptions, type CodePriorResult, type Level } from './options.ts';
import { CLASS_NAMES, loadCodePriorParts, type CodePriorParts, type CodePriorSources } from './parts.ts';

const NO_STEPS = 'a prior draws each code once; leave it out';
const REFUSED = {
  classLabels: 'these priors know no classes; leave them out',
  prompt: 'these priors read no texts; leave it out',
  image: 'pass its codes, which encodeToCodes gives, as `codes`',
  latents: 'pass `uniforms` or `codes`',
  resume: 'pass the levels that are done as `codes`',
  numInferenceSteps: NO_STEPS,
  timesteps: NO_STEPS,
  sigmas: NO_STEPS,
  guidanceScale: NO_STEPS,
  eta: 'its place has `temperature`',
};

/** A VQ-VAE with a prior for each of its levels, on one device. */
export class VQVAEPipeline extends BasePipeline {
  /** The `_class_name`s of such folders; ours, since their authors have none. */
  static readonly classNames = CLASS_NAMES;

  private constructor(
    device: Device,
    private readonly parts: CodePriorParts,
    all: readonly Part[],
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(
      device,
      all,
      async (space, z, shape, options) => {
        const codes = codesOfPlanes(Float32Array.from(await space.read(z)), shape, parts.vqvae.levels);
        return this.picturesOf(codes, options);
      },
      onProgress,
    );
  }

  /**
   * Loads a folder, see the head of this file.
   * @throws NotFoundError, NetworkError, FormatError (for pickles, too), ConfigError for parts of different models,
   * WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static load(device: Device, directory: Directory, options: LoadPipelineOptions = {}): Promise<VQVAEPipeline> {
    return VQVAEPipeline.fromParts(device, directory, options);
  }

  /** A pipeline of parts that are open already, or in folders of any name. @throws as {@link load} */
  static fromParts(
    device: Device,
    sources: CodePriorSources | Directory,
    options: LoadPipelineOptions = {},
  ): Promise<VQVAEPipeline> {
    const { onProgress } = options;
    return loadParts(async (own, all) => {
      const load = networkOptions(device, options);
      const parts = await loadCodePriorParts(device, sources, load, own);
      expectPicture('VQVAEPipeline', parts.vqvae.channels);
      return new VQVAEPipeline(device, parts, all, onProgress);
    });
  }

  /** Pixels per code of the top level along each side. */
  get downsampling(): number {
    const { levels, cell } = this.parts.vqvae;
    return levels * cell;
  }

  /** Width and height in pixels must be multiples of this; see {@link sampleSize}. */
  get sizeMultiple(): number {
    return this.downsampling;
  }

  /** The size of the pictures: a prior knows maps of one size. */
  get sampleSize(): { width: number; height: number } {
    const [h, w] = this.parts.top.config.shape;
    return { width: w * this.downsampling, height: h * this.downsampling };
  }

  /** Entries of a level's codebook. */
  get codebookSize(): number {
    return this.parts.vqvae.entries;
  }

  /**
   * Pictures [B,C,H,W] in −1 … 1, or bytes → their codes on every level.
   * @throws InvalidArgumentError, ShapeError for pictures that do not fit; LimitError, OutOfMemoryError,
   * DeviceLostError, AbortedError
   */
  async encodeToCodes(image: ImageInput, { signal }: { signal?: AbortSignal } = {}): Promise<CodeLevels> {
    const { vqvae } = this.parts;
    const planes = planesOf('image', image, vqvae.channels, [-1, 1]);
    const wrong = planes.shape.slice(2).find((side) => side % this.downsampling !== 0);
    if (wrong !== undefined) {
      throw new InvalidArgumentError(
        `encodeToCodes: expected sides that are multiples of ${this.downsampling}, got ${wrong}; resize the picture`,
      );
    }
    return vqvae.encode(planes, { signal, onProgress: this.onProgress });
  }

  /**
   * Codes of every level → pictures: those of a result or of {@link encodeToCodes}, edited ones, of any size.
   * @throws InvalidArgumentError for codes beyond the codebook or shapes that do not fit; as {@link encodeToCodes}
   */
  decodeCodes(codes: { top: CodeMap; bottom?: CodeMap }, signal?: AbortSignal): Promise<GeneratedImage[]> {
    return this.picturesOf(codes, { signal });
  }

  private async picturesOf(
    codes: { top: CodeMap; bottom?: CodeMap },
    options: Pick<RunOptions, 'signal' | 'checkFinite'>,
  ): Promise<GeneratedImage[]> {
    const { vqvae } = this.parts;
    const levels = Object.fromEntries(
      LEVELS.slice(0, vqvae.levels).map((level) => [level, this.checked(level, codes[level], codes.top?.shape)]),
    ) as unknown as CodeLevels;
    const out = await vqvae.decode(levels, { ...options, onProgress: this.onProgress });
    return anyPicturesOf(this.device, out.buffer, out.shape);
  }

  /**
   * From nothing to pictures: codes of the top level, codes of the bottom level given those, pictures. One draw decides
   * a code: the first whose cumulative probability exceeds it.
   * @throws InvalidArgumentError for an option out of range, or one that these priors do not know; LimitError,
   * OutOfMemoryError, DeviceLostError, NonFiniteError; AbortedError when the signal fires, between two codes. After any
   * of them but a lost device the pipeline stays usable.
   */
  async generate(options: CodePriorOptions = {}): Promise<CodePriorResult> {
    const { signal, checkFinite, outputType = 'image' } = options;
    throwIfAborted(signal, 'generate');
    refuseOptions(options, REFUSED);
    this.checkSize(options);
    const started = performance.now();
    const draw = this.drawing(options);
    const drawn = LEVELS.slice(0, this.parts.vqvae.levels).filter((level) => !options.codes?.[level]);
    const steps = drawn.reduce((sum, level) => sum + this.prior(level).config.shape[0], 0);
    const stepMs: number[] = [];
    const codes = this.givenCodes(options, draw.batch);
    let [step, before] = [0, performance.now()];
    for (const level of drawn) {
      codes[level] = await this.drawLevel(level, codes, draw, options, async (row, rows) => {
        stepMs.push(performance.now() - before);
        const event = { step: ++step, steps, level, row, rows, codes: copyOf(codes as CodeLevels) };
        await options.onStep?.({ ...event, preview: () => this.picturesOf(event.codes, { signal, checkFinite }) });
        before = performance.now();
      });
    }
    const levels = codes as CodeLevels;
    const decoding = performance.now();
    const images = outputType === 'latent' ? [] : await this.picturesOf(levels, { signal, checkFinite });
    const done = performance.now();
    const timing = { totalMs: done - started, stepMs, decodeMs: done - decoding };
    return { images, latents: planesOfCodes(levels).data, codes: levels, timing };
  }

  /** One evaluation is that of the finest prior, which draws one code of each picture. */
  protected work({ batch, height, width }: RunShape): { network: Work; decoder: Work } {
    const { vqvae, top, bottom } = this.parts;
    this.checkSize({ width: width * this.downsampling, height: height * this.downsampling });
    const prior = bottom ?? top;
    const shape = { batch, height: height * this.downsampling, width: width * this.downsampling };
    return {
      network: workOf(prior, batch),
      decoder: workOf(vqvae, shape),
    };
  }

  private prior(level: Level): PixelSnail {
    return this.parts[level]!;
  }

  /** Draws one level; `codes` shows what is there while it is drawn, a bottom level of zeros included. */
  private async drawLevel(
    level: Level,
    codes: Partial<CodeLevels>,
    draw: Drawing,
    options: CodePriorOptions,
    onRow: (row: number, rows: number) => Promise<void>,
  ): Promise<Codes> {
    const { batch, temperature, uniforms } = draw;
    const prior = this.prior(level);
    const [rows, W] = prior.config.shape;
    const empty = (of: Level): Codes => {
      const [h, w] = this.prior(of).config.shape;
      return { data: new Uint32Array(batch * h * w), shape: [batch, h, w] };
    };
    const condition = level === 'bottom' ? codes.top : undefined;
    codes[level] = empty(level);
    if (this.parts.bottom) codes.bottom ??= empty('bottom');
    const data = await prior.sample({
      batch,
      condition,
      uniforms: uniforms(level),
      temperature: temperature(level),
      signal: options.signal,
      checkFinite: options.checkFinite,
      onProgress: this.onProgress,
      onPixel: async (done, all, soFar) => {
        codes[level] = { data: soFar, shape: [batch, rows, W] };
        if (done % W === 0) await onRow(done / W, all / W);
      },
    });
    return { data, shape: [batch, rows, W] };
  }

  /** Pictures at once, and what decides their codes. @throws InvalidArgumentError */
  private drawing(options: CodePriorOptions): Drawing {
    const { generator, codes } = options;
    const list = typeof generator === 'object' && Symbol.iterator in generator ? generator : undefined;
    const batch = pictureCount('batchSize', options.batchSize ?? list?.length ?? codes?.top?.shape[0]);
    if (list && list.length !== batch) {
      throw new InvalidArgumentError(`generate: expected one generator or ${batch}, got ${list.length}`);
    }
    const temperature = (level: Level): number => {
      const { temperature: given = 1 } = options;
      const t = typeof given === 'number' ? given : (given[level] ?? 1);
      if (t > 0 && Number.isFinite(t)) return t;
      throw new InvalidArgumentError(`generate: expected temperature above 0, got ${t}`);
    };
    LEVELS.forEach(temperature);
    const own = list ?? [generatorOf(generator as number | TorchGenerator | undefined)];
    if (!own.every((g) => g instanceof TorchGenerator)) {
      throw new InvalidArgumentError(
        'generate: expected a seed or a TorchGenerator, since codes are drawn by uniforms; pass one, or uniforms',
      );
    }
    const uniforms = (level: Level): ArrayLike<number> => {
      const given = options.uniforms?.[level];
      const [h, w] = this.prior(level).config.shape;
      const count = batch * h * w;
      if (!given) return own.flatMap((g) => [...g.rand(count / own.length)]);
      const bad = Array.from(given).find((u) => !(u >= 0 && u < 1));
      if (given.length === count && bad === undefined) return given;
      throw new InvalidArgumentError(
        `generate: expected ${count} uniforms in [0, 1) of the ${level} level, got ${bad ?? given.length}`,
      );
    };
    // Said before the top level is drawn, which may take minutes.
    LEVELS.filter((level) => options.uniforms?.[level] && this.parts[level]).forEach(uniforms);
    return { batch, temperature, uniforms };
  }

  /** Levels that the caller brings. @throws InvalidArgumentError */
  private givenCodes({ codes }: CodePriorOptions, batch: number): Partial<CodeLevels> {
    if (!codes) return {};
    if (codes.top === undefined) {
      throw new InvalidArgumentError('generate: expected codes of the top level, got none; the bottom follows from it');
    }
    if (codes.bottom && !this.parts.bottom) {
      throw new InvalidArgumentError('generate: expected codes of one level, got a bottom level too; leave it out');
    }
    const given = LEVELS.filter((level) => codes[level]);
    return Object.fromEntries(
      given.map((level) => {
        const [h, w] = this.prior(level).config.shape;
        const { shape } = codes[level]!;
        if (shape.length !== 3 || shape[0] !== batch || shape[1] !== h || shape[2] !== w) {
          throw new InvalidArgumentError(
            `generate: expected ${level} codes [${batch},${h},${w}], got [${shape.join(',')}]`,
          );
        }
        return [level, this.checked(level, codes[level], codes.top.shape)];
      }),
    );
  }

  /** Codes of a level, twice as many along each side at the bottom. @throws InvalidArgumentError */
  private checked(level: Level, codes: CodeMap | undefined, top: readonly number[] = []): Codes {
    const [B, h, w] = level === 'top' ? top : [top[0], 2 * top[1], 2 * top[2]];
    const { data = [], shape = [] } = codes ?? {};
    const fits = shape.length === 3 && shape[0] === B && shape[1] === h && shape[2] === w && B * h * w > 0;
    if (!fits || data.length !== B * h * w) {
      throw new InvalidArgumentError(
        `codes: expected ${level} codes ${top.length === 3 ? `[${B},${h},${w}]` : '[B,h,w]'}, got ` +
          `[${shape.join(',')}] and ${data.length} of them`,
      );
    }
    const bad = Array.from(data).find((code) => !Number.isInteger(code) || code < 0 || code >= this.codebookSize);
    if (bad === undefined) return { data: Uint32Array.from(data), shape: [B, h, w] };
    throw new InvalidArgumentError(`codes: expected ${level} codes of 0 … ${this.codebookSize - 1}, got ${bad}`);
  }

  private checkSize({ width, height }: { width?: number; height?: number }): void {
    const own = this.sampleSize;
    for (const [name, value] of Object.entries({ width, height })) {
      if (value === undefined || value === own[name as keyof typeof own]) continue;
      throw new InvalidArgumentError(
        `generate: expected ${name} ${own[name as keyof typeof own]}, got ${value}; the prior knows maps of one size`,
      );
    }
  }
}

/** What decides the codes of a call. */
interface Drawing {
  batch: number;
  temperature(level: Level): number;
  /** Draws in [0, 1), [B,h,w] of the level; a generator goes on. */
  uniforms(level: Level): ArrayLike<number>;
}

/** A caller may keep them while the next row is drawn. */
function copyOf({ top, bottom }: CodeLevels): CodeLevels {
  const copy = ({ data, shape }: Codes): Codes => ({ data: data.slice(), shape });
  return { top: copy(top), ...(bottom && { bottom: copy(bottom) }) };
}

const generatorOf = (generator: number | TorchGenerator | undefined): TorchGenerator =>
  typeof generator === 'object' ? generator : new TorchGenerator(generator ?? Math.floor(Math.random() * 2 ** 32));
