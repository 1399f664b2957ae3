/** Parity of whole pipelines: recorded noise in, latents after every step and pictures out. */
import type { Device } from '../../engine/index.ts';
import { FormatError, UnsupportedError } from '../../engine/errors.ts';
import { readModelIndex } from '../../loading/index.ts';
import type { Directory } from '../../loading/directory.ts';
import { HINT_FACTOR } from './cases.ts';
import { runDiTPipeline } from './ditPipelineCase.ts';
import { Recording } from './recording.ts';
import { runStableDiffusionPipeline } from './sdPipelineCase.ts';
import { worstDifference } from './torchRandnCase.ts';

/** What the manifest says of a recorded run. */
export interface PipelineEntry {
  num_inference_steps: number;
  guidance_scale: number;
  guidance_rescale?: number;
  controlnet_conditioning_scale?: number;
  tol_abs_hint: Readonly<Record<string, number>>;
}

/** Everything that a runner needs. */
export interface PipelineCase {
  device: Device;
  /** The pipeline's folder. */
  folder: Directory;
  dtype: 'f32' | 'f16';
  entry: PipelineEntry;
  io: Recording;
}

/** What a run gave, by the names of the recording without `out.`. */
export type PipelineOutputs = Readonly<Record<string, ArrayLike<number>>>;

/** By the `_class_name` of the folder. */
const RUNNERS: Readonly<Record<string, (c: PipelineCase) => Promise<PipelineOutputs>>> = {
  DiTPipeline: runDiTPipeline,
  StableDiffusionPipeline: runStableDiffusionPipeline,
  StableDiffusionControlNetPipeline: runStableDiffusionPipeline,
};

/**
 * Runs a recorded pipeline and compares its outputs.
 * @param name its folder in `root`, and its entry in the manifest
 * @returns the comparison that came closest to its tolerance
 * @throws UnsupportedError for a class that is not built; FormatError for an output without a hint
 */
export async function runPipelineCase(
  device: Device,
  root: Directory,
  name: string,
  dtype: 'f32' | 'f16',
): Promise<{ error: number; tolerance: number }> {
  const folder = root.folder(name);
  const { pipelines } = (await root.json('manifest.json')) as { pipelines: Record<string, PipelineEntry> };
  const entry = pipelines[name];
  const { className } = await readModelIndex(folder);
  const run = Object.hasOwn(RUNNERS, className) ? RUNNERS[className] : undefined;
  if (!run) throw new UnsupportedError(`pipeline ${className} is not built yet`);
  const io = await Recording.open(folder);
  try {
    const got = await run({ device, folder, dtype, entry, io });
    let closest = { error: 0, tolerance: Infinity };
    for (const key of io.outputs()) {
      const hint = entry.tol_abs_hint[key];
      if (!(hint > 0)) throw new FormatError(`parity: expected tol_abs_hint of ${name} to have ${key}, got ${hint}`);
      const tolerance = HINT_FACTOR * hint;
      const error = got[key] ? worstDifference(got[key], (await io.tensor(`out.${key}`)).data) : Infinity;
      if (error / tolerance >= closest.error / closest.tolerance) closest = { error, tolerance };
    }
    return closest;
  } finally {
    await io.close();
  }
}
