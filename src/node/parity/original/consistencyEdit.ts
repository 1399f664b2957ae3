/** Parity with the zero-shot editing of consistency models, on their authors' stand-in for a network. */
import type { Directory } from '../../../loading/directory.ts';
import { clipped } from '../../../sampler/parameterisation/clip.ts';
import {
  brightnessReplacement,
  consistencyEdit,
  patchMeanReplacement,
} from '../../../sampler/editing/consistencyEdit.ts';
import { parameterise, samplePrediction, type Denoiser } from '../../../sampler/parameterisation/denoiser.ts';
import { HostSpace, type HostVec } from '../../../sampler/hostVec.ts';
import { runSolver } from '../../../sampler/loop.ts';
import { karrasSigmas, veLevel } from '../../../sampler/schedule/sigmas.ts';
import { LinearForm } from '../../../sampler/vec.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';

interface EditConfig {
  which: 'colorization' | 'superres';
  /** Places on the grid of sigmas. */
  ts: readonly number[];
  steps: number;
  /** Standard deviation of the data. */
  sd: number;
}

/** x·sd²/(t² + sd²) + 0.3·tanh(mirrored x/(t + 1)), rows of `width`. */
function standIn(sd: number, width: number): Denoiser {
  return parameterise((x, t) => {
    const { data, space, batch } = x as HostVec;
    const mirrored = (i: number): number => data[i - (i % width) + (width - 1 - (i % width))];
    const values = Array.from(
      data,
      (v, i) => (v * sd ** 2) / (t ** 2 + sd ** 2) + 0.3 * Math.tanh(mirrored(i) / (t + 1)),
    );
    return space.vec(values, batch);
  }, samplePrediction);
}

/** The picture as it is known, and what editing makes of it. */
export async function runConsistencyEdit(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<EditConfig>(dir);
  const { which, ts, steps, sd } = recording.config;
  const [sigmaMin, sigmaMax] = [0.002, 80];
  const space = new HostSpace('f64');
  const { data, shape } = recording.tensor('in.images');
  const [batch, channels, height, width] = shape;
  const known = space.vec(data, batch);
  const make = which === 'colorization' ? brightnessReplacement : patchMeanReplacement;
  const replace = make(known, [channels, height, width]);
  const black = space.vec(new Float64Array(data.length), batch);
  recording.compare('images', (LinearForm.of(replace(black)).materialise() as HostVec).data);
  const grid = karrasSigmas(steps, sigmaMin, sigmaMax).map((s) => veLevel(s, s));
  let next = 0;
  const final = await runSolver({
    x: space.vec(recording.tensor('in.x').data, batch),
    denoiser: clipped(standIn(sd, width)),
    solver: consistencyEdit({ replace, sigmaMin }),
    transitions: ts.slice(1).map((t, i) => ({ from: grid[ts[i]], to: grid[t] })),
    noise: () => space.vec(recording.item('draws', next++), batch),
  });
  recording.compare('x', (final as HostVec).data);
  return recording.result();
}
