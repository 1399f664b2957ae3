/** The ControlNets of a run: their pictures on the GPU, and what they say at each step. */
import { InvalidArgumentError, type Device } from '../../engine/index.ts';
import type { RunOptions, TensorInput } from '../../models/index.ts';
import { controlFactor } from '../../models/controlNet/controlNet.ts';
import type { ControlNet } from '../../models/controlNet/controlNetModel.ts';
import type { ControlResiduals } from '../../models/unetCondition/unetConditionModel.ts';
import { planesOf, repeatedTo } from '../picture/imageInput.ts';
import type { StepConditions } from './conditions.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';
import type { Turns } from '../run/turns.ts';

/** What a step asks. */
export interface ControlStep extends RunOptions {
  /** [n·B,C,h,w], the unconditional half first where there are two. */
  sample: TensorInput;
  timestep: number;
  /** 0 … 1: how far the run has come. */
  progress: readonly [from: number, to: number];
  /** The conditions of the U-Net. */
  conditions: StepConditions;
}

/** ControlNets bound to the pictures of one run. */
export class ControlBranch {
  private readonly buffers: GPUBuffer[] = [];
  private readonly zeros = new Map<number, GPUBuffer>();
  private readonly pictures: { buffer: GPUBuffer; shape: readonly number[]; scale: number }[];

  /**
   * @param cells Height and width of the latents; a ControlNet halves its picture to them.
   * @throws InvalidArgumentError unless there is a picture of the right size for each ControlNet
   */
  constructor(
    private readonly device: Device,
    private readonly nets: readonly ControlNet[],
    private readonly options: TextToImageOptions,
    private readonly batch: number,
    cells: readonly [number, number],
    /** Of all runs that share these networks. */
    private readonly turns: Turns,
  ) {
    const { controlImage, controlnetConditioningScale = 1 } = options;
    const images = controlImage === undefined ? [] : [controlImage].flat();
    const scales = [controlnetConditioningScale].flat();
    if (images.length !== nets.length || (scales.length !== 1 && scales.length !== nets.length)) {
      throw new InvalidArgumentError(
        `generate: expected ${nets.length} of controlImage and of controlnetConditioningScale, got ${images.length} ` +
          `and ${scales.length}`,
      );
    }
    const checked = images.map((image, i) => {
      const planes = repeatedTo('controlImage', planesOf('controlImage', image, 3, [0, 1]), batch);
      const [, , height, width] = planes.shape;
      const size = cells.map((n) => n * controlFactor(nets[i].config));
      if (height !== size[0] || width !== size[1]) {
        throw new InvalidArgumentError(
          `generate: expected controlImage of ${size.join('×')}, got ${height}×${width}; resize it`,
        );
      }
      const scale = scales.length === 1 ? scales[0] : scales[i];
      if (!Number.isFinite(scale)) {
        throw new InvalidArgumentError(`generate: expected a finite controlnetConditioningScale, got ${scale}`);
      }
      return { ...planes, scale };
    });
    this.pictures = checked.map(({ data, shape, scale }) => ({ buffer: this.upload(data), shape, scale }));
  }

  /** Asks the U-Net with what all ControlNets add at a step, undefined where none acts; other runs wait meanwhile. */
  evaluate<T>(step: ControlStep, unet: (controls: ControlResiduals[] | undefined) => Promise<T>): Promise<T> {
    return this.turns.take(async () => unet(await this.residuals(step)));
  }

  private async residuals(step: ControlStep): Promise<ControlResiduals[] | undefined> {
    const { controlGuidanceStart: from = 0, controlGuidanceEnd: to = 1, guessMode = false } = this.options;
    if (step.progress[0] < from || step.progress[1] > to) return undefined;
    const halves = step.sample.shape[0] / this.batch;
    // In guess mode the unconditional half is left alone.
    const conditional = guessMode && halves === 2;
    const { conditions: given, ...run } = step;
    const sample = conditional ? secondHalf(step.sample) : step.sample;
    const conditions = conditional ? conditionalOf(given) : given;
    const acting: ControlResiduals[] = [];
    for (const [i, net] of this.nets.entries()) {
      const { buffer, shape, scale } = this.pictures[i];
      if (scale === 0) continue;
      const parts = sample.shape[0] / this.batch;
      const { encoderHiddenStates, addedCondKwargs } = conditions;
      const { down, mid } = await net.forward({
        ...run,
        encoderHiddenStates,
        addedCondKwargs: net.config.addition === 'none' ? undefined : addedCondKwargs,
        sample,
        controlnetCond: { data: Array<GPUBuffer>(parts).fill(buffer), shape: [sample.shape[0], ...shape.slice(1)] },
        conditioningScale: scale,
        guessMode,
      });
      const whole = (t: { buffer: GPUBuffer; shape: readonly number[] }): TensorInput =>
        conditional
          ? { data: [this.zero(t.buffer.size), t.buffer], shape: [2 * t.shape[0], ...t.shape.slice(1)] }
          : { data: t.buffer, shape: t.shape };
      acting.push({ down: down.map(whole), mid: whole(mid) });
    }
    return acting.length > 0 ? acting : undefined;
  }

  dispose(): void {
    for (const buffer of [...this.buffers, ...this.zeros.values()]) this.device.destroyBuffer(buffer);
  }

  private upload(data: Float32Array): GPUBuffer {
    const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = this.device.createBuffer(4 * data.length, usage, 'controlImage');
    this.buffers.push(buffer);
    this.device.gpu.queue.writeBuffer(buffer, 0, Float32Array.from(data));
    return buffer;
  }

  private zero(bytes: number): GPUBuffer {
    let buffer = this.zeros.get(bytes);
    if (!buffer) this.zeros.set(bytes, (buffer = this.device.createBuffer(bytes, GPUBufferUsage.COPY_SRC, 'zeros')));
    return buffer;
  }
}

/** The conditional half of a pair of buffers. */
function secondHalf({ data, shape }: TensorInput): TensorInput {
  return { data: (data as readonly GPUBuffer[])[1], shape: [shape[0] / 2, ...shape.slice(1)] };
}

/** The second half of values on the host. */
function laterHalf({ data, shape }: TensorInput): TensorInput {
  const values = data as Float32Array;
  return { data: values.subarray(values.length / 2), shape: [shape[0] / 2, ...shape.slice(1)] };
}

/** The conditional half of all conditions. */
function conditionalOf({ encoderHiddenStates, addedCondKwargs: added }: StepConditions): StepConditions {
  const { textEmbeds, timeIds } = added ?? {};
  const ids = timeIds && Array.from(timeIds.data);
  return {
    encoderHiddenStates: secondHalf(encoderHiddenStates),
    addedCondKwargs: textEmbeds &&
      ids && {
        textEmbeds: laterHalf(textEmbeds),
        timeIds: { data: ids.slice(ids.length / 2), shape: [timeIds.shape[0] / 2, timeIds.shape[1]] },
      },
  };
}
