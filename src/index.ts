/**
 * Daguerre: diffusion models on WebGPU. Safe in a browser and in a worker: no Node built-ins, nothing touched on
 * import.
 *
 * ```ts
 * const pipe = await Pipeline.fromPretrained('https://example.org/emoji/');
 * const { images } = await pipe({ classLabels: 'Animals & Nature', generator: 42 });
 * await images[0].toCanvas(document.querySelector('canvas')!);
 * ```
 *
 * This is the core. What a pipeline is made of comes with the pipeline, or from `daguerre/ops`, `daguerre/models`,
 * `daguerre/sampler` and `daguerre/pipelines`.
 */
export * from './engine/index.ts';
export * from './loading/index.ts';
export * from './pipelines/index.ts';
