/** What every pipeline takes when it is loaded. */
import type { LoadProgress } from '../engine/index.ts';

export interface LoadPipelineOptions {
  /**
   * Storage of weights and activations; arithmetic is f32 either way. `auto` takes f16 where the adapter has
   * `shader-f16`, f32 otherwise.
   */
  dtype?: 'auto' | 'f32' | 'f16';
  /** `fp16` prefers `NAME.fp16.safetensors`. */
  variant?: string;
  onProgress?: (progress: LoadProgress) => void;
  signal?: AbortSignal;
}
