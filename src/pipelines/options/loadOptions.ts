/** What every pipeline takes when it is loaded. */
import { InvalidArgumentError, type CompileProgress, type Device, type LoadProgress } from '../../engine/index.ts';
import type { LoadOptions } from '../../models/modelSource.ts';
import type { SingleFileOptions } from '../../models/singleFile.ts';
import type { PretrainedSource } from '../source/source.ts';

/** Storage, choice of files, and who is told. */
export interface LoadPipelineOptions {
  /**
   * Storage of weights and activations; arithmetic is f32 either way. `auto` (the default) takes f16 on a
   * GPU with `shader-f16`, f32 otherwise, software adapters included.
   */
  dtype?: 'auto' | 'f32' | 'f16';
  /** `fp16` prefers `NAME.fp16.safetensors`. */
  variant?: string;
  /**
   * Called after each weight (`file` tells which component), and later, when a size is run for the first time, after
   * each pipeline that is compiled for it.
   */
  onProgress?: (progress: LoadProgress | CompileProgress) => void;
  /**
   * For a checkpoint in one file, which holds no tokenizer: the folder of a tokenizer, or a pipeline's with
   * `tokenizer/` (and `tokenizer_2/`, which SDXL needs) in it. Without one, texts are given as `promptEmbeds`.
   */
  tokenizer?: PretrainedSource;
  /**
   * For a checkpoint in one file: fields of the parts' configs over those that the shapes of the weights tell, by part
   * (`unet`, `vae`, `text_encoder`, `text_encoder_2`).
   */
  configs?: SingleFileOptions['configs'];
  /** For a checkpoint in one file: what its U-Net predicts, where that is not the usual for its kind. */
  predictionType?: SingleFileOptions['predictionType'];
  /** Ends the loading with AbortedError; nothing is left behind. */
  signal?: AbortSignal;
}

/** f16 pays on a GPU with native halves; software adapters convert and lose. @throws InvalidArgumentError */
export function storageOf(dtype: LoadPipelineOptions['dtype'], { caps }: Device): 'f32' | 'f16' {
  if (dtype === undefined || dtype === 'auto') return caps.f16 && !caps.software ? 'f16' : 'f32';
  if (dtype === 'f32' || dtype === 'f16') return dtype;
  throw new InvalidArgumentError(`fromPretrained: expected dtype to be auto, f32 or f16, got ${String(dtype)}`);
}

/** What each network of a pipeline is loaded with. @throws as {@link storageOf} */
export function networkOptions(
  device: Device,
  { dtype, variant, signal, onProgress }: LoadPipelineOptions,
): LoadOptions {
  return { dtype: storageOf(dtype, device), variant, signal, onProgress };
}
