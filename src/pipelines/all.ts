/** `daguerre/pipelines`: every pipeline by its class, and what a pipeline of one's own is made from. */
export * from './index.ts';
export { admNetwork, classifierGradient } from './admOnGpu.ts';
export { ClassLatentDiffusionPipeline } from './classLatentDiffusion.ts';
export { ControlBranch } from './controlBranch.ts';
export { DiTPipeline } from './ditPipeline.ts';
export { edmDenoise, preconditioningOf } from './edmDenoiser.ts';
export { GpuNoise } from './gpuNoise.ts';
export { GpuSpace } from './gpuSpace.ts';
export { GpuVec } from './gpuVec.ts';
export { GeneratedImage } from './image.ts';
export { klDecoder, picturesOf, type LatentDecoder } from './latentDecoder.ts';
export { runLatents, type LatentRun, type StartingPoint } from './latentRun.ts';
export { present } from './present.ts';
export { StableDiffusionPipeline } from './stableDiffusion.ts';
