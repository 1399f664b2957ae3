/**
 * Daguerre: diffusion models on WebGPU. Safe in a browser and in a worker: no Node built-ins, nothing touched on import.
 *
 * ```ts
 * const pipe = await Pipeline.fromPretrained('https://example.org/emoji/');
 * const { images } = await pipe({ classLabels: 'Animals & Nature', generator: 42 });
 * await images[0].toCanvas(document.querySelector('canvas')!);
 * ```
 */
export * from './engine/index.ts';
export * as ops from './kernels/index.ts';
export * from './loading/index.ts';
export * from './models/index.ts';
export * from './pipelines/index.ts';
