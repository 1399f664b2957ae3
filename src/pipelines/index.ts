/** A task from end to end. */
export { ClassLatentDiffusionPipeline } from './classLatentDiffusion.ts';
export type { ClassToImageOptions, ClassToImageResult } from './classToImage.ts';
export type { GenerationOptions, GenerationResult, PipelinePlan, StepProgress } from './generation.ts';
export { GpuSpace } from './gpuSpace.ts';
export { GpuVec } from './gpuVec.ts';
export { GeneratedImage } from './image.ts';
export type { ClassLabel } from './labels.ts';
export type { LoadPipelineOptions } from './options.ts';
export type { ImageInput } from './imageInput.ts';
export type { TextToImageOptions } from './textToImage.ts';
export { Pipeline, type FromPretrainedOptions } from './pipeline.ts';
export { present } from './present.ts';
export { resolveSource, type PretrainedSource, type SourceOptions } from './source.ts';
