/** Parity with score_sde and NCSNv2 where the score is a network's: single calls, predictor–corrector, likelihood. */
import type { RawConfig } from '../../../loading/index.ts';
import { parsePythonJson } from '../../../loading/json.ts';
import { readNcsnppConfig } from '../../../models/scoreSde/ncsnppConfig.ts';
import { NCSNpp, ncsnppWeights } from '../../../models/scoreSde/ncsnppModel.ts';
import { readNcsnv2Config } from '../../../models/scoreSde/ncsnv2Config.ts';
import { NCSNv2, ncsnv2Weights } from '../../../models/scoreSde/ncsnv2Model.ts';
import { toldAt } from '../../../pipelines/original/scoreSdeConfig.ts';
import {
  epsilonPrediction,
  parameterise,
  scorePrediction,
  type Denoiser,
} from '../../../sampler/parameterisation/denoiser.ts';
import { HostSpace, type HostVec } from '../../../sampler/hostVec.ts';
import { runSolver } from '../../../sampler/loop.ts';
import * as s from '../../../sampler/sde/index.ts';
import { networkLikelihood } from './networkLikelihood.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';
import { sdeOf, type SdeConfig } from './sde.ts';
import { mergedWeights, type NetworkCase } from './weights.ts';

/** What a config says beside what the recording keeps of it. */
async function caseFile({ dir }: NetworkCase) {
  const file = parsePythonJson(await dir.text('config.json'), 'config.json');
  return file as { call: string; weights: { model: readonly string[] } };
}

interface NcsnppCaseConfig {
  net: RawConfig & { training?: { continuous?: boolean } };
  sde: SdeConfig;
}

async function withNcsnpp<Config extends NcsnppCaseConfig>(
  c: NetworkCase,
  run: (recording: OriginalCase<Config>, network: NCSNpp, call: string) => Promise<void>,
): Promise<CaseResult> {
  const recording = await OriginalCase.open<Config>(c.dir);
  const file = await caseFile(c);
  const config = { _class_name: 'NCSNpp', ...recording.config.net };
  const checkpoint = await mergedWeights(c, file.weights.model, ncsnppWeights(readNcsnppConfig(config)));
  const network = await NCSNpp.load(await c.device(), { config, checkpoint }, { dtype: c.dtype });
  try {
    await run(recording, network, file.call);
    return recording.result();
  } finally {
    network.dispose();
    await checkpoint.close();
  }
}

/** One call. */
export function runNcsnppForward(c: NetworkCase): Promise<CaseResult> {
  return withNcsnpp(c, async (recording, network) => {
    const { data, shape } = recording.tensor('in.x');
    const sample = { data: Float32Array.from(data), shape };
    const cond = [...recording.tensor('in.cond').data];
    const out = await network.forward({ sample, timeCond: cond.length === shape[0] ? cond : cond[0] });
    recording.compare('model', await out.read());
  });
}

/** A network seen as a denoiser. */
function denoiserOf(network: NCSNpp, sde: s.Sde, shape: readonly number[], continuous: boolean): Denoiser {
  return parameterise(
    async (x, t) => {
      const { data, space, batch } = x as HostVec;
      const sample = { data: Float32Array.from(data), shape };
      const out = await network.forward({ sample, timeCond: toldAt(sde, t, continuous) });
      return space.vec(await out.read(), batch);
    },
    sde.kind === 've' ? scorePrediction : epsilonPrediction,
  );
}

interface PcConfig extends NcsnppCaseConfig {
  predictor?: s.PredictorCorrectorOptions['predictor'];
  corrector?: s.PredictorCorrectorOptions['corrector'];
  snr: number;
  n_steps?: number;
  denoise?: boolean;
  probability_flow?: boolean;
  continuous?: boolean;
  eps: number;
}

/** Every state after a corrector and after a predictor, as far as recorded, and the end. */
export function runNcsnppPredictorCorrector(c: NetworkCase): Promise<CaseResult> {
  return withNcsnpp<PcConfig>(c, async (recording, network, call) => {
    const { config } = recording;
    const named = /\w+SDE, (\w+), (\w+)/.exec(call) ?? [];
    const { n_steps = 1, denoise, probability_flow, eps, snr } = config;
    const continuous = config.continuous ?? config.net.training?.continuous ?? true;
    const sde = sdeOf(config.sde);
    const space = new HostSpace('f32');
    const { shape } = recording.tensor('out.final');
    const batch = shape[0];
    const seen = { corrector: [] as number[][][], predictor: [] as number[][][] };
    const solver = s.predictorCorrector(sde, {
      predictor: config.predictor ?? (named[1] as PcConfig['predictor']),
      corrector: config.corrector ?? (named[2] as PcConfig['corrector']),
      snr,
      correctorSteps: n_steps,
      probabilityFlow: probability_flow,
      denoise,
      onMove: (kind, at, mean) => void seen[kind].push([[...(at as HostVec).data], [...(mean as HostVec).data]]),
    });
    let next = 1;
    const start = recording.item('draws', 0).map((z) => z * sde.priorStd);
    const final = await runSolver({
      x: space.vec(start, batch),
      denoiser: denoiserOf(network, sde, shape, continuous),
      solver,
      transitions: s.sdeTransitions(sde, eps, continuous),
      noise: () => space.vec(recording.item('draws', next++), batch),
    });
    recording.compare('final', (final as HostVec).data);
    for (const kind of ['corrector', 'predictor'] as const) {
      const moves = seen[kind].filter((_, i) => kind === 'predictor' || i % n_steps === n_steps - 1);
      ['', '_mean'].forEach((suffix, which) => {
        const name = `after_${kind}${suffix}`;
        if (!recording.has(`out.${name}`)) return;
        recording.compare(
          name,
          moves.flatMap((move) => move[which]),
        );
      });
    }
    if (recording.has('out.nfe_reported')) recording.same('nfe_reported', [sde.steps * (n_steps + 1)]);
  });
}

interface LikelihoodConfig extends NcsnppCaseConfig {
  inverse_scaler: 'identity' | 'uncenter';
  rtol: number;
  atol: number;
  eps: number;
}

/** What RK45 asks for in one step: whether a step more is taken hangs on the last bits of the first slopes. */
const EVALUATIONS_PER_STEP = 6;

/** Bits per dimension of each probe, and latents. */
export function runNcsnppLikelihood(c: NetworkCase): Promise<CaseResult> {
  return withNcsnpp<LikelihoodConfig>(c, async (recording, network) => {
    const { rtol, atol, eps: end, inverse_scaler, sde: kind } = recording.config;
    const sde = sdeOf(kind);
    const space = new HostSpace('f64');
    const { data, shape } = recording.tensor('in.data');
    const x = space.vec(data, shape[0]);
    const score = async (points: Float32Array, t: number, items: number): Promise<Float32Array> => {
      const sample = { data: points, shape: [items, ...shape.slice(1)] };
      const out = await (await network.forward({ sample, timeCond: toldAt(sde, t, true) })).read();
      return sde.kind === 've' ? out : out.map((v) => -v / sde.level(t).sigma);
    };
    const offset = inverse_scaler === 'identity' ? 8 : 7; // 7 − inverse_scaler(−1): the width of an 8-bit step, in bits
    const wanted = recording.tensor('out.nfe').data;
    const [bpd, z]: [number[], number[]] = [[], []];
    for (let p = 0; p < recording.tensor('in.probe').shape[0]; p++) {
      const probe = recording.item('in.probe', p);
      const found = await networkLikelihood({ space, x, probe, sde, score, end, rtol, atol });
      bpd.push(...found.bitsPerDim.map((b) => b + offset));
      for (const v of found.z) z.push(v);
      if (Math.abs(found.evaluations - wanted[p]) > EVALUATIONS_PER_STEP) recording.fail();
    }
    recording.compare('bpd', bpd);
    recording.compare('z', z);
    recording.ignore('nfe');
  });
}

async function withNcsnv2<Config extends { net: RawConfig }>(
  c: NetworkCase,
  run: (recording: OriginalCase<Config>, network: NCSNv2) => Promise<void>,
): Promise<CaseResult> {
  const recording = await OriginalCase.open<Config>(c.dir);
  const file = await caseFile(c);
  const variant = /NCSNv2(?:Deeper|Deepest)?/.exec(file.call)?.[0] ?? 'NCSNv2';
  const config = { _class_name: variant, ...recording.config.net };
  const checkpoint = await mergedWeights(c, file.weights.model, ncsnv2Weights(readNcsnv2Config(config)));
  const network = await NCSNv2.load(await c.device(), { config, checkpoint }, { dtype: c.dtype });
  try {
    await run(recording, network);
    return recording.result();
  } finally {
    network.dispose();
    await checkpoint.close();
  }
}

/** One call of NCSNv2. */
export function runNcsnv2Forward(c: NetworkCase): Promise<CaseResult> {
  return withNcsnv2(c, async (recording, network) => {
    const { data, shape } = recording.tensor('in.x');
    const noiseIndex = [...recording.tensor('in.y').data];
    const out = await network.forward({ sample: { data: Float32Array.from(data), shape }, noiseIndex });
    recording.compare('model', await out.read());
  });
}

interface AldConfig {
  net: RawConfig;
  n_steps_each: number;
  step_lr: number;
  denoise: boolean;
}

/** Every state of annealed Langevin dynamics. */
export function runNcsnv2Langevin(c: NetworkCase): Promise<CaseResult> {
  return withNcsnv2<AldConfig>(c, async (recording, network) => {
    const { n_steps_each, step_lr, denoise } = recording.config;
    const space = new HostSpace('f32');
    const { data, shape } = recording.tensor('in.x');
    const sigmas = [...network.sigmas];
    const denoiser = parameterise(async (x, sigma) => {
      const sample = { data: Float32Array.from((x as HostVec).data), shape };
      const out = await network.forward({ sample, noiseIndex: sigmas.indexOf(sigma) });
      return space.vec(await out.read(), shape[0]);
    }, scorePrediction);
    let next = 0;
    const images: number[] = [];
    await s.annealedLangevin(space.vec(data, shape[0]), {
      sigmas,
      stepsEach: n_steps_each,
      stepSize: step_lr,
      denoise,
      denoiser,
      noise: () => space.vec(recording.item('draws', next++), shape[0]),
      onMove: (x) => void images.push(...(x as HostVec).data),
    });
    recording.compare('sigmas', sigmas);
    recording.compare('images', images);
  });
}
