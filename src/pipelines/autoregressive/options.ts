/** What users give a pipeline that draws codes one after the other, and what they get. */
import type { CodeMap } from '../../models/pixelSnail/pixelSnailModel.ts';
import type { TorchGenerator } from '../../sampler/noise/torchGenerator.ts';
import type { Codes } from '../autoencoder/autoencoderPipeline.ts';
import type { GenerationResult } from '../options/generation.ts';
import type { GeneratedImage } from '../picture/image.ts';

/** Names of the levels, coarse to fine; an autoencoder with one level has the first. */
export const LEVELS = ['top', 'bottom'] as const;
/** One of {@link LEVELS}. */
export type Level = (typeof LEVELS)[number];

/**
 * Indices of the codebooks: the top level's, and those of the bottom level, which is twice as large, where there is
 * one.
 */
export interface CodeLevels {
  top: Codes;
  bottom?: Codes;
}

/** What one call takes. */
export interface CodePriorOptions {
  /** Pictures at once; by default as many as there are generators or given codes, else 1. */
  batchSize?: number;
  /** Divides the logits before codes are drawn, > 0; one for all levels or each its own. Default 1. */
  temperature?: number | { top?: number; bottom?: number };
  /**
   * A seed of PyTorch's CPU generator, a generator, or one per picture; default a random seed. A level takes as many
   * uniforms of `torch.rand` as it has codes, picture by picture and row by row, the top level first.
   */
  generator?: number | TorchGenerator | readonly TorchGenerator[];
  /** Draws in [0, 1) in place of the generator's, [B,h,w] of each level. */
  uniforms?: { top?: ArrayLike<number>; bottom?: ArrayLike<number> };
  /** Codes that are there already, [B,h,w]: the levels that are left out are drawn. */
  codes?: { top: CodeMap; bottom?: CodeMap };
  /** `latent`: no pictures are decoded, and `images` is empty; default `image`. */
  outputType?: 'image' | 'latent';
  /** Pixels; nothing but the pipeline's `sampleSize`, since a prior knows maps of one size. */
  width?: number;
  height?: number;
  /** Called after each row of codes and awaited. */
  onStep?: (event: RowStep) => void | Promise<void>;
  /** Waits after every op and names the first that writes a NaN or an infinity; slow. */
  checkFinite?: boolean;
  /** Checked between two codes; the call then fails with AbortedError and the pipeline stays usable. */
  signal?: AbortSignal;
}

/** A row of codes that is drawn. */
export interface RowStep {
  /** Rows so far over all levels, from 1, and all of them. */
  step: number;
  steps: number;
  level: Level;
  /** Of the level, from 1. */
  row: number;
  rows: number;
  /** Codes so far; those that are not drawn yet are 0. */
  codes: CodeLevels;
  /**
   * Pictures of the codes so far; await it within the event, dispose of them afterwards.
   * @throws OutOfMemoryError, DeviceLostError, AbortedError
   */
  preview(): Promise<GeneratedImage[]>;
}

/** What one call gives; `latents` are the codes as planes, see `codePlanes.ts`. */
export interface CodePriorResult extends GenerationResult {
  codes: CodeLevels;
}
