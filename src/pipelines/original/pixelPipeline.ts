/** What pipelines of one network of pixels have in common, and its calls on the sampler's vectors. */
import { InvalidArgumentError, numel, type Device, type Profile, type Report } from '../../engine/index.ts';
import type { ModelOutput, RunOptions, TensorInput } from '../../models/modelRuntime.ts';
import type { NormalGenerator } from '../../sampler/noise/generator.ts';
import type { Network } from '../../sampler/index.ts';
import { TorchGenerator } from '../../sampler/noise/torchGenerator.ts';
import { BasePipeline, pictureCount, workOf, type Part, type RunShape, type Work } from '../run/basePipeline.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { classNumber, type ClassLabel } from '../options/labels.ts';
import type { Generators, LatentShape } from '../run/latents.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import { pixelDecoder } from '../run/pixelDecoder.ts';

/** A network that is planned and profiled by batch and size. */
export interface PixelNetwork extends Part {
  plan(shape: RunShape): Report;
  profile(shape: RunShape, options?: RunOptions): Promise<Profile>;
}

/** One network whose states are the pictures themselves. */
export abstract class PixelPipeline extends BasePipeline {
  protected constructor(
    device: Device,
    private readonly whole: PixelNetwork,
    range: readonly [number, number],
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, [whole], pixelDecoder(device, range), onProgress);
  }

  /** Pixels themselves. */
  get downsampling(): number {
    return 1;
  }

  protected work(shape: RunShape): { network: Work } {
    return { network: workOf(this.whole, shape) };
  }
}

/** A network on states of that shape; results are copies, since its next call writes over its output. */
export function networkOn(
  space: GpuSpace,
  shape: LatentShape,
  call: (sample: TensorInput, told: number, signal?: AbortSignal) => Promise<ModelOutput>,
): Network {
  return async (x, told, signal) => {
    const out = await call({ data: space.contiguous(x).buffer, shape }, told, signal);
    return space.copy(out.buffer, numel(out.shape), shape[0]);
  };
}

/** Classes as users say them: one for all pictures or one each. */
export type ClassChoice = ClassLabel | readonly ClassLabel[];

/**
 * Classes per picture, and how many pictures; without classes they are left to be drawn.
 * @param count classes that the network knows; 0 for none
 * @throws InvalidArgumentError for a class that it does not know, or another number of them than pictures
 */
export function classesOf(
  { classLabels, batchSize }: { classLabels?: ClassChoice; batchSize?: number },
  count: number,
  labels: Readonly<Record<number, string>>,
): { classes?: number[]; batch: number } {
  if (classLabels === undefined) return { batch: pictureCount('batchSize', batchSize) };
  if (count === 0) {
    throw new InvalidArgumentError('generate: expected no classLabels: the network knows no classes; leave them out');
  }
  const list = typeof classLabels === 'object' ? classLabels : [classLabels];
  const classes = list.map((label) => classNumber(label, labels, count));
  const batch = pictureCount('batchSize', batchSize ?? classes.length);
  if (classes.length === batch) return { classes, batch };
  if (classes.length === 1) return { classes: Array<number>(batch).fill(classes[0]), batch };
  throw new InvalidArgumentError(`generate: expected 1 or ${batch} classLabels, got ${classes.length}`);
}

/** A class per picture from the run's own generators, as `torch.randint`; from others that have none, at random. */
export function drawClasses(generator: Generators, batch: number, count: number): number[] {
  if ('randn' in generator) return draw(generator, count, batch);
  return generator.flatMap((own) => draw(own, count, 1));
}

/** Classes that follow from the seeds, while the generators stay where they are. */
export function seededClasses(generator: Generators, batch: number, count: number): number[] {
  const twin = (own: NormalGenerator) => (own instanceof TorchGenerator ? new TorchGenerator(own.seed) : own);
  return drawClasses('randn' in generator ? twin(generator) : generator.map(twin), batch, count);
}

function draw(generator: NormalGenerator, count: number, n: number): number[] {
  if (generator instanceof TorchGenerator) return generator.randint(0, count, n);
  return Array.from({ length: n }, () => Math.floor(Math.random() * count));
}

/**
 * One generator per picture of those seeds. @throws InvalidArgumentError where both are given, or another number of
 * them
 */
export function generatorsOf<G>(
  { seeds, generator }: { seeds?: readonly (number | bigint)[]; generator?: G },
  batch: number,
): G | TorchGenerator[] | undefined {
  if (!seeds) return generator;
  if (generator !== undefined) {
    throw new InvalidArgumentError('generate: expected seeds or a generator, got both; leave one of them out');
  }
  if (seeds.length === batch) return seeds.map((seed) => new TorchGenerator(seed));
  throw new InvalidArgumentError(`generate: expected ${batch} seeds, one per picture, got ${seeds.length}`);
}
