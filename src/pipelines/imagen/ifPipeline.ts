/**
 * Text → small picture by a network in pixels that reads T5's states: diffusers' `IFPipeline` folders, the first stage
 * of DeepFloyd IF. Saharia et al. 2022 (Imagen), https://arxiv.org/abs/2205.11487
 */
import type { Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/index.ts';
import { loadParts } from '../run/basePipeline.ts';
import type { GenerationResult } from '../options/generation.ts';
import { refuseOptions } from '../options/refuseOptions.ts';
import { IfBase } from './ifBase.ts';
import { expectChannels, loadIfParts, type IfLoadOptions } from './ifParts.ts';
import type { IfOptions } from './options.ts';

/** What the reference library does without being told. */
const DEFAULTS = { numInferenceSteps: 100, guidanceScale: 7 } as const;

/** It starts from noise and a text, and from nothing else. */
const ELSEWHERE = {
  image: 'to enlarge pictures take an IFSuperResolutionPipeline',
  maskImage: 'it fills no masks',
  strength: 'it does not start from a picture',
} as const;

/** Texts → small pictures: T5, U-Net and scheduler of one folder on one device. */
export class IFPipeline extends IfBase {
  /** The `_class_name` of such a folder. */
  static readonly className = 'IFPipeline';

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError for parts of different models, UnsupportedError for a
   * component or a scheduler that is not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static load(device: Device, directory: Directory, options: IfLoadOptions = {}): Promise<IFPipeline> {
    return loadParts(async (own, all) => {
      const parts = await loadIfParts(device, directory, IFPipeline.className, options, { own, all });
      expectChannels(directory.name, parts.unet, 3);
      return new IFPipeline(device, parts, options.onProgress);
    });
  }

  /**
   * Texts → small pictures; by default 100 steps with a guidance scale of 7. A scale of 1 or less is the conditional
   * network alone.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: IfOptions): Promise<GenerationResult> {
    refuseOptions(options, ELSEWHERE);
    const given = { ...DEFAULTS, ...options };
    const conditions = await this.conditions(given, given.guidanceScale > 1);
    return this.run({ ...this.start(given, conditions.text.shape[0]), conditions }, given);
  }
}
