/**
 * A task from end to end: how pipelines are loaded and called. They themselves are chunks of their own, see `all.ts`.
 */
export type { ClassToImageOptions, ClassToImageResult } from './options/classToImage.ts';
export type { GenerationOptions, GenerationResult, PipelinePlan, StepProgress } from './options/generation.ts';
export type { GeneratedImage } from './picture/image.ts';
export type { ImageInput } from './picture/imageInput.ts';
export type { ClassLabel } from './options/labels.ts';
export type { LoadPipelineOptions } from './options/loadOptions.ts';
export { Pipeline, type FromPretrainedOptions, type LoadedPipeline } from './pipeline.ts';
export type { PipelineLora } from './source/pipelineLoras.ts';
export { resolveSource, type PretrainedSource, type SourceOptions } from './source/source.ts';
export type { SizeConditions, TextToImageOptions } from './options/textToImage.ts';
