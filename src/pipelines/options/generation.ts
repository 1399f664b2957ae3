/** What users give every pipeline that makes pictures from noise, and what they get. */
import type { Report } from '../../engine/index.ts';
import type { Split } from '../../models/splitCalls.ts';
import type { BrownianOptions, NormalGenerator, SamplerState, StepEvent } from '../../sampler/index.ts';
import type { AttentionMap } from './attentionMaps.ts';
import type { GeneratedImage } from '../picture/image.ts';

/** What one call takes, whatever the pictures are made from. */
export interface GenerationOptions {
  /** 1 … training timesteps; default 20. */
  numInferenceSteps?: number;
  /** w of u + w·(c − u): 1 is the conditional network alone. */
  guidanceScale?: number;
  /** φ in [0, 1] (Lin et al. 2023); default 0. */
  guidanceRescale?: number;
  /** DDIM's stochasticity, ≥ 0; default 0. */
  eta?: number;
  /** Training timesteps, strictly falling, in place of a number of steps. */
  timesteps?: readonly number[];
  /** Noise levels, strictly falling, in place of a number of steps, where the scheduler's class takes them. */
  sigmas?: readonly number[];
  /**
   * A seed (of PyTorch's CPU generator), a generator (`TorchGenerator`, `PhiloxGenerator` for PyTorch's CUDA noise,
   * `CounterGenerator`), or one generator per picture; default a random seed.
   */
  generator?: number | NormalGenerator | readonly NormalGenerator[];
  /** The noise of stochastic steps from one Brownian path, so that the number of steps does not change it. */
  brownian?: BrownianOptions;
  /** `latent`: no pictures are decoded, and `images` is empty; default `image`. */
  outputType?: 'image' | 'latent';
  /** Initial noise [B,C,h,w] of unit variance, in place of the generator's. */
  latents?: Float32Array;
  /** Pixels; multiples of the pipeline's `sizeMultiple`. */
  width?: number;
  height?: number;
  /** Called after each step and awaited. `preview` decodes what the picture is believed to be. */
  onStep?: (event: StepProgress) => void | Promise<void>;
  /** Waits after every op and names the first that writes a NaN or an infinity; slow. */
  checkFinite?: boolean;
  /** Go on from a state that `onStep` gave. */
  resume?: SamplerState;
  /** Checked between submits; the call then fails with AbortedError and the pipeline stays usable. */
  signal?: AbortSignal;
}

/** A step that is done; values as {@link StepEvent} gives them. */
export interface StepProgress extends Pick<StepEvent, 'step' | 'steps' | 'timestep' | 'sigma' | 'state'> {
  /**
   * The believed pictures of this step; await it within the event, dispose of them afterwards.
   * @throws OutOfMemoryError, DeviceLostError, AbortedError
   */
  preview(): Promise<GeneratedImage[]>;
}

/** What one call gives. */
export interface GenerationResult {
  /** In the order of what was asked for, several of one kind behind each other; dispose of them when not needed. */
  images: GeneratedImage[];
  /** [B,C,h,w] as the network left them. */
  latents: Float32Array;
  /** Per picture and token that `attentionMaps` asked about. */
  attentionMaps?: AttentionMap[];
  /** Milliseconds of wall time. */
  timing: { totalMs: number; stepMs: number[]; decodeMs: number };
}

/** What one call takes; bytes. */
export interface PipelinePlan {
  /** Whether the device can run it; if not, `advice` says what to change and the figures are missing. */
  fits: boolean;
  /** What to change where it does not fit. */
  advice?: string;
  /** Transient memory of network and decoder, which exist side by side. */
  peakBytes?: number;
  /** Weights of all networks, which are on the GPU already. */
  weightBytes: number;
  /** The largest tensor of any network, and where it stands. */
  largestBinding?: Report['largestBinding'];
  /** How the decoder's work is split where it does not fit at once, or tiles were asked for. */
  split?: Split;
  /** Of one evaluation of the network, and of the decoder. */
  dispatches?: { unet: number; decoder: number };
}
