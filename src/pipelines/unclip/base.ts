/** From an embedding of a picture to the picture: what both kinds of unCLIP end in. */
import { InvalidArgumentError, numel, type Device } from '../../engine/index.ts';
import type { RunOptions } from '../../models/index.ts';
import type { Sampler } from '../../sampler/index.ts';
import type { Vec } from '../../sampler/vec.ts';
import { BasePipeline, workOf, type RunShape } from '../run/basePipeline.ts';
import type { GenerationOptions, GenerationResult } from '../options/generation.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { runLatents, type LatentRun } from '../run/latentRun.ts';
import { generatorOf, type Generators, type LatentShape } from '../run/latents.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import { pixelDecoder } from '../run/pixelDecoder.ts';
import { refuseOptions } from '../options/refuseOptions.ts';
import { sdDenoiser } from '../stableDiffusion/denoiser.ts';
import type { UnclipDecoderOptions, UnclipResult, UnclipStep } from './options.ts';
import type { UnclipParts } from './parts.ts';
import { superResDenoiser } from './stages.ts';
import { joined, type UnclipText } from './texts.ts';

/** What the reference library does without being told. */
const DEFAULTS = { decoderNumInferenceSteps: 25, superResNumInferenceSteps: 7, decoderGuidanceScale: 8 } as const;

/** What other pipelines call what has several names here. */
const ELSEWHERE = {
  numInferenceSteps: 'give priorNumInferenceSteps, decoderNumInferenceSteps, superResNumInferenceSteps',
  guidanceScale: 'give priorGuidanceScale, decoderGuidanceScale',
  latents: 'give priorLatents, decoderLatents, superResLatents',
  promptEmbeds: 'give textModelOutput and textAttentionMask',
  scheduler: 'each stage has the one of its folder',
  width: 'its networks fix the size',
  height: 'its networks fix the size',
  timesteps: 'give the number of steps of each stage',
  sigmas: 'give the number of steps of each stage',
  eta: 'the schedulers of the stages say how noise is added',
  resume: 'stages run one behind the other',
} as const;

/** What a stage is run with, beside what is common to all. */
interface Stage extends Pick<LatentRun, 'prepare'> {
  name: UnclipStep['stage'];
  sampler: Sampler;
  shape: LatentShape;
  numInferenceSteps: number;
  latents: Float32Array | undefined;
  denoiser: LatentRun['denoiser'];
}

/** What all stages of a call share. */
export interface UnclipCall extends UnclipDecoderOptions {
  /** Resolved, since all stages draw from it one after the other. */
  generator: Generators;
}

/** Decoder and enlarging networks; the size of pictures is that of the configs. */
export abstract class UnclipBase extends BasePipeline {
  protected constructor(
    device: Device,
    protected readonly parts: UnclipParts,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, parts.all, pixelDecoder(device), onProgress);
  }

  /** Pixels themselves. */
  get downsampling(): number {
    return 1;
  }

  /** Pictures are of one size only. */
  get sizeMultiple(): number {
    return Math.max(...this.parts.large);
  }

  /** The size of results, pixels. */
  get sampleSize(): { width: number; height: number } {
    const [height, width] = this.parts.large;
    return { width, height };
  }

  /** One evaluation is the decoder's, of both halves of guidance; the network that enlarges counts as what decodes. */
  protected work({ batch, height, width }: RunShape) {
    const { decoder, superResFirst, small, large, textProj, texts } = this.parts;
    const cells = (n: number, axis: 0 | 1) => Math.max(1, Math.round((n * small[axis]) / large[axis]));
    const tokens = textProj.config.extraTokens + texts.tokens;
    const both = { batch: 2 * batch, height: cells(height, 0), width: cells(width, 1), tokens };
    const enlarge = { batch, height, width };
    return { network: workOf(decoder, both), decoder: workOf(superResFirst, enlarge) };
  }

  /** The options of a call with what all stages draw from. @throws InvalidArgumentError for options of other kinds */
  protected callOf<Options extends UnclipDecoderOptions>(options: Options): Options & UnclipCall {
    refuseOptions(options, ELSEWHERE);
    return { ...options, generator: generatorOf(options.generator) };
  }

  /** A stage from its noise to its end. */
  protected stage(
    { name: stage, denoiser, prepare, sampler, shape, numInferenceSteps, latents }: Stage,
    { generator, checkFinite, signal, onStep }: UnclipCall,
  ): Promise<GenerationResult> {
    const { device } = this;
    const told: GenerationOptions['onStep'] = onStep && ((event) => onStep({ ...event, stage }));
    const decode = stage === 'prior' ? () => Promise.resolve([]) : this.toPictures;
    // Of the stages before the last, numbers are all that is wanted; previews are pictures all the same.
    const outputType = stage === 'superRes' ? 'image' : 'latent';
    const options = { numInferenceSteps, latents, generator, checkFinite, signal, onStep: told, outputType } as const;
    return runLatents({ device, sampler, shape, denoiser, decode, prepare }, options);
  }

  /**
   * Embeddings [B,E] → small pictures → large ones.
   * @param before milliseconds of each step before these
   */
  protected async paint(
    imageEmbeddings: UnclipResult['imageEmbeddings'],
    { text, negative }: { text: UnclipText; negative: UnclipText | undefined },
    options: UnclipCall,
    { started, stepMs }: { started: number; stepMs: readonly number[] },
  ): Promise<UnclipResult> {
    const { superResSampler: sampler, superResFirst, superResLast, large, resize } = this.parts;
    const { superResNumInferenceSteps: steps = DEFAULTS.superResNumInferenceSteps } = options;
    const lastTimestep = sampler.timesteps({ numInferenceSteps: steps }).at(-1)!;
    const [B] = imageEmbeddings.shape;
    const painted = await this.smallPictures(imageEmbeddings, joined(text, negative), options);
    const small = {
      data: painted.latents.map((v) => Math.min(1, Math.max(-1, v))),
      shape: [B, 3, ...this.parts.small] as const,
    };
    const { onProgress } = this;
    const { signal, checkFinite } = options;
    const call: Omit<RunOptions, 'signal'> = { checkFinite, onProgress };
    const shape: LatentShape = [B, 3, ...large];
    const run = { first: superResFirst, last: superResLast, sampler, shape, lastTimestep };
    let enlarged: Vec | undefined;
    const { images, latents, timing } = await this.stage(
      {
        name: 'superRes',
        sampler,
        shape,
        numInferenceSteps: steps,
        latents: options.superResLatents,
        prepare: async (space) => {
          const { buffer } = await resize.run(small, large[0], large[1], { signal, ...call });
          enlarged = space.copy(buffer, numel(shape), B); // another run may enlarge while this one goes on
        },
        denoiser: (space) => superResDenoiser(space, { ...run, enlarged: enlarged! }, call),
      },
      options,
    );
    const all = [...stepMs, ...painted.timing.stepMs, ...timing.stepMs];
    const totalMs = performance.now() - started;
    return { images, latents, imageEmbeddings, small, timing: { ...timing, totalMs, stepMs: all } };
  }

  private async smallPictures(
    image: UnclipResult['imageEmbeddings'],
    texts: UnclipText,
    options: UnclipCall,
  ): Promise<GenerationResult> {
    const { textProj, decoder: unet, decoderSampler: sampler, small } = this.parts;
    const { checkFinite, signal } = options;
    const { onProgress } = this;
    const { decoderNumInferenceSteps = DEFAULTS.decoderNumInferenceSteps } = options;
    const { decoderGuidanceScale: guidanceScale = DEFAULTS.decoderGuidanceScale } = options;
    const [N, S] = texts.shape;
    const [B] = image.shape;
    const told = await textProj.forward({
      imageEmbeddings: image,
      promptEmbeds: texts.pooled,
      textEncoderHiddenStates: texts,
      signal,
      checkFinite,
      onProgress,
    });
    // Asked for at once: another call of the model would write over what is not asked for yet.
    const [context, classes] = await Promise.all([told.context.read(), told.classes.read()]);
    const extra = textProj.config.extraTokens;
    const mask = new Float32Array(N * (extra + S)).fill(1);
    for (let n = 0; n < N; n++) mask.set(texts.mask.subarray(n * S, (n + 1) * S), n * (extra + S) + extra);
    const shape: LatentShape = [B, unet.config.inChannels, ...small];
    const denoiser = (space: GpuSpace) => {
      const conditions = {
        encoderHiddenStates: { data: space.vec(context, N).buffer, shape: told.context.shape },
        classLabels: { data: space.vec(classes, N).buffer, shape: told.classes.shape },
        attentionMask: { data: mask, shape: [N, extra + S] },
      };
      const both = { text: conditions, both: N > B ? conditions : undefined };
      const run = { unet, sampler, shape, conditions: both, control: undefined, steps: [], beside: [], onProgress };
      return sdDenoiser(space, run, { guidanceScale, checkFinite });
    };
    return this.stage(
      {
        name: 'decoder',
        sampler,
        shape,
        numInferenceSteps: decoderNumInferenceSteps,
        latents: options.decoderLatents,
        denoiser,
      },
      options,
    );
  }
}

/** Whether a scale guides. @throws InvalidArgumentError for one that is not finite */
export function guides(name: string, scale: number): boolean {
  if (Number.isFinite(scale)) return scale > 1;
  throw new InvalidArgumentError(`generate: expected a finite ${name}, got ${scale}`);
}

/** The decoder's scale of a call. */
export const decoderScale = ({ decoderGuidanceScale = DEFAULTS.decoderGuidanceScale }: UnclipDecoderOptions) =>
  decoderGuidanceScale;
