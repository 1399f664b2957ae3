/** What a U-Net of text → picture is told in every step of a run: texts, sizes, the guidance scale. */
import { InvalidArgumentError, type Device } from '../../engine/index.ts';
import type { TensorInput } from '../../models/index.ts';
import { sinusoidalEmbedding } from '../../models/timestep.ts';
import type { ConditionArguments } from '../../models/unetCondition/conditionInputs.ts';
import type { Conditions, TextStates } from '../prompts/promptEncoder.ts';
import type { SizeConditions } from '../options/textToImage.ts';

/** Conditions of one evaluation. */
export type StepConditions = Required<Pick<ConditionArguments, 'encoderHiddenStates'>> &
  Pick<ConditionArguments, 'addedCondKwargs' | 'timestepCond' | 'classLabels' | 'attentionMask'>;

/** Beside the texts. */
export interface MoreConditions {
  /** Numbers per picture, of the conditional and the unconditional half. */
  timeIds?: { text: readonly number[]; negative: readonly number[] };
  /** Features of the guidance scale. */
  timestepCond?: Float32Array;
  /** Whether guidance also looks at the texts once more, where the network does not see the picture that it edits. */
  edits?: boolean;
  /** A class for all, as super-resolution is told of the noise on what it enlarges. */
  classLabel?: number;
}

/** The conditions of a run, text states on the GPU. */
export class RunConditions {
  /** Of the conditional half alone. */
  readonly text: StepConditions;
  /**
   * Of both, the unconditional half first; undefined without guidance. Edits: conditional, then twice unconditional.
   */
  readonly both: StepConditions | undefined;
  private readonly buffers: GPUBuffer[] = [];

  constructor(
    private readonly device: Device,
    { text, negative }: Conditions,
    private readonly more: MoreConditions,
  ) {
    const own = this.upload(text);
    this.text = this.of([{ states: text, buffer: own, ids: more.timeIds?.text }]);
    if (!negative) return;
    const other = { states: negative, buffer: this.upload(negative), ids: more.timeIds?.negative };
    const cond = { states: text, buffer: own, ids: more.timeIds?.text };
    this.both = this.of(more.edits ? [cond, other, other] : [other, cond]);
  }

  /** Releases the states. */
  dispose(): void {
    for (const buffer of this.buffers) this.device.destroyBuffer(buffer);
  }

  private of(halves: { states: TextStates; buffer: GPUBuffer; ids?: readonly number[] }[]): StepConditions {
    const [B, S, E] = halves[0].states.shape;
    const N = halves.length * B;
    const encoderHiddenStates: TensorInput = { data: halves.map(({ buffer }) => buffer), shape: [N, S, E] };
    const { timestepCond: features, classLabel } = this.more;
    const classLabels = classLabel === undefined ? undefined : Array<number>(N).fill(classLabel);
    const timestepCond = features && {
      data: Float32Array.from({ length: N * features.length }, (_, i) => features[i % features.length]),
      shape: [N, features.length],
    };
    const { pooled } = halves[0].states;
    if (!pooled) return { encoderHiddenStates, timestepCond, classLabels };
    const P = pooled.shape[1];
    const data = new Float32Array(N * P);
    halves.forEach(({ states }, i) => data.set(states.pooled!.data, i * B * P));
    const ids = halves.flatMap(({ ids: numbers = [] }) => Array<readonly number[]>(B).fill(numbers).flat());
    const timeIds = halves[0].ids && { data: ids, shape: [N, ids.length / N] };
    return {
      encoderHiddenStates,
      timestepCond,
      classLabels,
      addedCondKwargs: { textEmbeds: { data, shape: [N, P] }, timeIds },
    };
  }

  private upload({ data }: TextStates): GPUBuffer {
    const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = this.device.createBuffer(4 * data.length, usage, 'text states');
    this.buffers.push(buffer);
    this.device.gpu.queue.writeBuffer(buffer, 0, Float32Array.from(data));
    return buffer;
  }
}

/**
 * Features [dim] of the guidance scale for networks into which guidance was distilled. Meng et al. 2023, section 3;
 * Luo et al. 2023 (LCM), section 4.2.
 * @throws InvalidArgumentError for a scale that is not finite.
 */
export function guidanceFeatures(guidanceScale: number, dim: number): Float32Array {
  if (!Number.isFinite(guidanceScale)) {
    throw new InvalidArgumentError(`generate: expected a finite guidanceScale, got ${guidanceScale}`);
  }
  return sinusoidalEmbedding([1000 * (guidanceScale - 1)], dim);
}

/**
 * SDXL's numbers of a picture: original size, crop, target size; the refiner has a score in place of the last.
 * Podell et al. 2023, section 2.2.
 * @throws InvalidArgumentError for a pair that is none
 */
export function sdxlTimeIds(
  options: SizeConditions,
  size: readonly [height: number, width: number],
  aesthetic: boolean,
): { text: number[]; negative: number[] } {
  const { originalSize = size, cropsCoordsTopLeft = [0, 0], targetSize = size } = options;
  const { aestheticScore = 6, negativeAestheticScore = 2.5 } = options;
  const { negativeOriginalSize = originalSize, negativeTargetSize = targetSize } = options;
  // The reference library's negative crop is 0, 0 where it builds numbers of the negative half's own.
  const own = aesthetic || (options.negativeOriginalSize && options.negativeTargetSize);
  const { negativeCropsCoordsTopLeft = own ? [0, 0] : cropsCoordsTopLeft } = options;
  const text = [...originalSize, ...cropsCoordsTopLeft, ...(aesthetic ? [aestheticScore] : targetSize)];
  const negative = [
    ...negativeOriginalSize,
    ...negativeCropsCoordsTopLeft,
    ...(aesthetic ? [negativeAestheticScore] : negativeTargetSize),
  ];
  for (const ids of [text, negative]) {
    if (ids.length === (aesthetic ? 5 : 6) && ids.every(Number.isFinite)) continue;
    throw new InvalidArgumentError(
      `generate: expected sizes and crops as pairs of finite numbers, got [${ids.join(', ')}]`,
    );
  }
  return { text, negative };
}
