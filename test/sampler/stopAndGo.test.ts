/** Every sampler stops and goes: the same bits from any step on, nothing used after its step, abort everywhere. */
import { describe, expect, test } from 'vitest';
import { AbortedError } from '../../src/engine/errors.ts';
import {
  HostSpace,
  logLikelihood,
  parameterise,
  sde,
  TorchGenerator,
  type HostVec,
  type Likelihood,
  type SamplerState,
  type Vec,
} from '../../src/sampler/index.ts';
import { expectClose } from '../support/close.ts';
import { PoisonSpace } from './poisonSpace.ts';
import { SOLVER_CASES, toyNetwork, type RunExtras, type SolverCase } from './catalogue/index.ts';

const data = (v: Vec): ArrayLike<number> => (v as HostVec).data;

function start({ name, run }: SolverCase, space: HostSpace, extras: RunExtras = {}): Promise<Vec> {
  const network = toyNetwork(space, async (v) => (v as HostVec).data)(/learned_range|learned range/.test(name) ? 2 : 1);
  return run(
    space,
    async (x, t, signal) => {
      const out = await network(x, t, signal);
      return space instanceof PoisonSpace ? space.track(out) : out;
    },
    { generator: new TorchGenerator(1), ...extras },
  );
}

describe.each(SOLVER_CASES.map((c) => [c.name, c] as const))('%s', (_name, solver) => {
  test('a run resumed at any step, by way of JSON, ends in the same bits', async () => {
    const states: string[] = [];
    const whole = await start(solver, new HostSpace(), {
      onStep: async (event) => void states.push(JSON.stringify(await event.state())),
    });
    expect(Array.from(data(whole)).every(Number.isFinite)).toBe(true);
    expect(states.length).toBeGreaterThan(2);
    for (const state of states.slice(0, -1)) {
      const resume = JSON.parse(state) as SamplerState;
      let steps = 0;
      const rest = await start(solver, new HostSpace(), { resume, onStep: () => void steps++ });
      expectClose(data(rest), data(whole), 0, `from step ${resume.step}`);
      expect(steps).toBe(states.length - resume.step);
    }
  });

  test('nothing is used after its step', async () => {
    expectClose(data(await start(solver, new PoisonSpace())), data(await start(solver, new HostSpace())), 0);
  });

  test('an abort ends it before the next step', async () => {
    const abort = new AbortController();
    let steps = 0;
    const onStep = (): void => {
      steps++;
      abort.abort();
    };
    await expect(start(solver, new HostSpace(), { signal: abort.signal, onStep })).rejects.toThrow(AbortedError);
    expect(steps).toBe(1);
  });
});

test('a likelihood resumes in the same bits, divergence and all', async () => {
  const process = sde.vpSde(0.1, 4);
  const run = (extras: RunExtras = {}): Promise<Likelihood> => {
    const space = new HostSpace();
    const network = toyNetwork(space, async (v) => (v as HostVec).data)();
    const [x, probe] = [3, 4].map((seed) => space.vec(new TorchGenerator(seed).randn(24), 2));
    const denoiser = parameterise(network, 'epsilon');
    return logLikelihood({ x, sde: process, denoiser, probe, end: 0.05, rtol: 1e-3, atol: 1e-3, ...extras });
  };
  const states: string[] = [];
  const whole = await run({ onStep: async (event) => void states.push(JSON.stringify(await event.state())) });
  expect(states.length).toBeGreaterThan(2);
  for (const state of states) {
    const { logLikelihood: found, z, evaluations } = await run({ resume: JSON.parse(state) as SamplerState });
    expect([found, evaluations]).toEqual([whole.logLikelihood, whole.evaluations]);
    expectClose(data(z), data(whole.z), 0);
  }
});
