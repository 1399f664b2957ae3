/** `daguerre/pipelines`: every pipeline by its class, and what a pipeline of one's own is made from. */
export * from './index.ts';
export { ADMPipeline } from './adm.ts';
export type { AdmOptions, AdmResult, AdmStep } from './admOptions.ts';
export { admNetwork, classifierGradient } from './admOnGpu.ts';
export type { AttentionMap, AttentionMapOptions } from './attentionWatch.ts';
export type { CodeLevels, CodePriorOptions, CodePriorResult, RowStep } from './autoregressive/options.ts';
export { VQVAEPipeline } from './autoregressive/vqVaePipeline.ts';
export {
  AutoencoderPipeline,
  type AutoencoderOptions,
  type AutoencoderResult,
  type Codes,
} from './autoencoderPipeline.ts';
export { encodePictures, reconstruct, type Autoencoder, type EncodeOptions, type Latents } from './autoencoding.ts';
export { ClassLatentDiffusionPipeline } from './classLatentDiffusion.ts';
export { ControlBranch } from './controlBranch.ts';
export { DiTPipeline } from './ditPipeline.ts';
export { edmDenoise, preconditioningOf } from './edmDenoiser.ts';
export { discreteSde, flowProcess, type FlowProcess } from './flowProcess.ts';
export { GpuNoise } from './gpuNoise.ts';
export { GpuSpace } from './gpuSpace.ts';
export { GpuVec } from './gpuVec.ts';
export { FluxPipeline } from './flux.ts';
export { GeneratedImage } from './image.ts';
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
export { interpolateLatents, slerp } from './interpolation.ts';
export { klDecoder, klLatents, picturesOf, type LatentDecoder } from './latentDecoder.ts';
export { runLatents, type LatentRun, type StartingPoint } from './latentRun.ts';
export { LDMPipeline } from './ldmPipeline.ts';
export { LDMSuperResolutionPipeline } from './ldmSuperResolution.ts';
export type { LikelihoodCall, PictureLikelihood } from './pictureLikelihood.ts';
export type {
  SuperResolutionOptions,
  UnconditionalOptions,
  UnconditionalResult,
  UpscaleOptions,
} from './pictureOptions.ts';
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
export { present } from './present.ts';
export { StableDiffusionPipeline } from './stableDiffusion.ts';
export { StableDiffusion3Pipeline } from './stableDiffusion3.ts';
export { StableDiffusionUpscalePipeline } from './stableDiffusionUpscale.ts';
export type { UnclipOptions, UnclipResult, UnclipStep, UnclipVariationOptions } from './unclip/options.ts';
export { UnCLIPPipeline } from './unclip/unclip.ts';
export { UnCLIPImageVariationPipeline } from './unclip/variation.ts';
export { UnconditionalPipeline } from './unconditional.ts';
