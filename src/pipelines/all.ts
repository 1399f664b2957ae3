/** `daguerre/pipelines`: every pipeline by its class, and what a pipeline of one's own is made from. */
export * from './index.ts';
export { ADMPipeline } from './adm/adm.ts';
export type { AdmOptions, AdmResult, AdmStep } from './adm/options.ts';
export { admNetwork, classifierGradient } from './adm/onGpu.ts';
export type { AttentionMap, AttentionMapOptions } from './options/attentionMaps.ts';
export type { CodeLevels, CodePriorOptions, CodePriorResult, RowStep } from './autoregressive/options.ts';
export { VQVAEPipeline } from './autoregressive/vqVaePipeline.ts';
export {
  AutoencoderPipeline,
  type AutoencoderOptions,
  type AutoencoderResult,
  type Codes,
} from './autoencoder/autoencoderPipeline.ts';
export { encodePictures, reconstruct, type Autoencoder, type EncodeOptions, type Latents } from './run/autoencoding.ts';
export { ClassLatentDiffusionPipeline } from './latentDiffusion/classLatentDiffusion.ts';
export { ControlBranch } from './stableDiffusion/controlBranch.ts';
export { DiTPipeline } from './latentDiffusion/ditPipeline.ts';
export { edmDenoise, preconditioningOf } from './original/edmDenoiser.ts';
export { discreteSde, flowProcess, type FlowProcess } from './pixelDiffusion/flowProcess.ts';
export { GpuNoise } from './gpu/gpuNoise.ts';
export { GpuSpace } from './gpu/gpuSpace.ts';
export { GpuVec } from './gpu/gpuVec.ts';
export { FluxPipeline } from './flow/flux.ts';
export { GeneratedImage } from './picture/image.ts';
export { IFCascade, type CascadeFolders } from './imagen/cascade.ts';
export type { IfLoadOptions } from './imagen/ifParts.ts';
export { IFPipeline } from './imagen/ifPipeline.ts';
export { IFSuperResolutionPipeline } from './imagen/ifSuperResolution.ts';
export type {
  CascadeOptions,
  CascadeResult,
  CascadeStep,
  IfOptions,
  IfSuperResolutionOptions,
  StageOptions,
} from './imagen/options.ts';
export { interpolateLatents, slerp } from './run/interpolation.ts';
export { klDecoder, klLatents, picturesOf, type LatentDecoder } from './run/latentDecoder.ts';
export { runLatents, type LatentRun, type StartingPoint } from './run/latentRun.ts';
export { LDMPipeline } from './latentDiffusion/ldmPipeline.ts';
export { LDMSuperResolutionPipeline } from './latentDiffusion/ldmSuperResolution.ts';
export type { LikelihoodCall, PictureLikelihood } from './pixelDiffusion/pictureLikelihood.ts';
export type {
  SuperResolutionOptions,
  UnconditionalOptions,
  UnconditionalResult,
  UpscaleOptions,
} from './options/pictureOptions.ts';
export { ConsistencyPipeline } from './original/consistency.ts';
export { EDMPipeline } from './original/edm.ts';
export { originalKind, type OriginalFamily, type OriginalKind } from './original/kinds.ts';
export { NCSNv2Pipeline } from './original/ncsnv2.ts';
export type {
  ClassedResult,
  ConsistencyOptions,
  ConsistencySampler,
  EdmOptions,
  Ncsnv2Options,
  OriginalOptions,
  ScoreSdeOptions,
} from './original/options.ts';
export { ScoreSDEPipeline } from './original/scoreSde.ts';
export { present } from './picture/present.ts';
export { StableDiffusionPipeline } from './stableDiffusion/stableDiffusion.ts';
export { StableDiffusion3Pipeline } from './flow/stableDiffusion3.ts';
export { StableDiffusionUpscalePipeline } from './stableDiffusion/stableDiffusionUpscale.ts';
export type { UnclipOptions, UnclipResult, UnclipStep, UnclipVariationOptions } from './unclip/options.ts';
export { UnCLIPPipeline } from './unclip/unclip.ts';
export { UnCLIPImageVariationPipeline } from './unclip/variation.ts';
export { UnconditionalPipeline } from './pixelDiffusion/unconditional.ts';
