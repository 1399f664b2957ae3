/** Models: pure functions that record a graph, and classes that run them on a device. */
export { autoencoderKlDecode, autoencoderKlEncode } from './autoencoderKl.ts';
export { readAutoencoderKLConfig, type AutoencoderKLConfig } from './autoencoderKlConfig.ts';
export {
  AutoencoderKL,
  autoencoderKlWeights,
  planAutoencoderKL,
  type AutoencoderLoadOptions,
  type AutoencoderPart,
  type AutoencoderShape,
  type EncodeOutput,
} from './autoencoderKlModel.ts';
export { DiagonalGaussian } from './diagonalGaussian.ts';
export { legacyAttentionKeys } from './legacyKeys.ts';
export type { ModelOutput, RunOptions, TensorData, TensorInput } from './modelRuntime.ts';
export type { LoadOptions, ModelSource, OpenedModel } from './modelSource.ts';
export { fourierEmbedding, sinusoidalEmbedding, type SinusoidOptions } from './timestep.ts';
export { sizeMultiple, timeFeatureDim, unet2d, type UNet2DInputs } from './unet2d.ts';
export { readUNet2DConfig, type UNet2DConfig } from './unet2dConfig.ts';
export { planUNet2D, UNet2D, unet2dWeights, type UNet2DCall, type UNet2DShape } from './unet2dModel.ts';
export { WeightScope } from './weightScope.ts';
