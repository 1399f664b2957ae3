/** What a checkpoint without a config is of, by the names and shapes of its weights. */
import type { Checkpoint } from '../../loading/index.ts';
import type { OriginalKind } from './kinds.ts';
import { withoutParallel } from './openOriginal.ts';

/** The network of a file; a preconditioning, flags of training and the like stand in no weight. */
export function kindByKeys(checkpoint: Checkpoint): OriginalKind | undefined {
  const view = withoutParallel(checkpoint);
  const keys = view.keys();
  const some = (pattern: RegExp) => keys.some((key) => pattern.test(key));
  if (some(/^(model\.)?enc\.\d+x\d+_(conv|block)/) && some(/^(model\.)?map_layer0\./)) {
    return { family: 'edm', className: some(/^(model\.)?out_norm\./) ? 'DhariwalUNet' : 'SongUNet' };
  }
  if (some(/^all_modules\.\d+\./)) return { family: 'scoreSde', className: 'NCSNpp' };
  if (some(/^begin_conv\./) && some(/^refine\d\./)) return { family: 'ncsnv2', className: ncsnv2Class(some) };
  if (!some(/^input_blocks\.0\.0\./) || !some(/^time_embed\.0\./) || !some(/^output_blocks\./)) return undefined;
  // Convolutions over one point in both, which only consistency_models has made of two dimensions.
  const qkv = keys.find((key) => /\.qkv\.weight$/.test(key));
  if (qkv !== undefined && view.info(qkv).shape.length === 4) return { family: 'consistency', className: 'UNetModel' };
  // What enlarges sees the small picture beside its own.
  const seen = view.info('input_blocks.0.0.weight').shape[1];
  return { family: 'adm', className: seen === 6 ? 'SuperResModel' : 'UNetModel' };
}

/** By the stages that only the deeper ones have. */
function ncsnv2Class(some: (pattern: RegExp) => boolean): string {
  if (some(/^res31\./)) return 'NCSNv2Deepest';
  return some(/^res5\./) ? 'NCSNv2Deeper' : 'NCSNv2';
}
