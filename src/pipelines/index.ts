/** A task from end to end: how pipelines are loaded and called. They themselves are chunks of their own, see `all.ts`. */
export type { ClassToImageOptions, ClassToImageResult } from './classToImage.ts';
export type { GenerationOptions, GenerationResult, PipelinePlan, StepProgress } from './generation.ts';
export type { GeneratedImage } from './image.ts';
export type { ImageInput } from './imageInput.ts';
export type { ClassLabel } from './labels.ts';
export type { LoadPipelineOptions } from './options.ts';
export { Pipeline, type FromPretrainedOptions, type LoadedPipeline } from './pipeline.ts';
export type { PipelineLora } from './pipelineLoras.ts';
export { resolveSource, type PretrainedSource, type SourceOptions } from './source.ts';
export type { SizeConditions, TextToImageOptions } from './textToImage.ts';
