/**
 * PyTorch as a peer for models. It runs in Python (../torch_eager.py), from which it is told apart by the way to it
 * only.
 */
import { PUBLISHED } from '../../models/published.ts';

/** What ../torch_probe.py found. */
export interface TorchFound {
  version: string;
  /** Whether it reaches a GPU. */
  cuda: boolean;
}

/**
 * Which ways are tried of a model. On a GPU convolutions may prefer channels last, and f32 may be multiplied as TF32,
 * with ten bits of mantissa: such a result counts only where it passes the check of f32. The processor gets f32 alone.
 */
export function torchVariants(model: string, dtype: 'f32' | 'f16', cuda: boolean): readonly string[] {
  if (dtype === 'f16' && !cuda) return [];
  const isTransformer = PUBLISHED[model]?.config._class_name === 'DiTTransformer2DModel';
  const layouts = isTransformer ? ['eager'] : ['eager', 'eager, channels last'];
  return dtype === 'f32' && cuda ? layouts.flatMap((way) => [way, `${way}, TF32`]) : layouts;
}
