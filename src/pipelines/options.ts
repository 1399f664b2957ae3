/** What every pipeline takes when it is loaded. */
import type { CompileProgress, LoadProgress } from '../engine/index.ts';

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
   * Called after each weight (`file` tells which component), and later, when a size is run for the first time, after each
   * pipeline that is compiled for it.
   */
  onProgress?: (progress: LoadProgress | CompileProgress) => void;
  /** Ends the loading with AbortedError; nothing is left behind. */
  signal?: AbortSignal;
}
