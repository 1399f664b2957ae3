/** Every sampler on the GPU: the host's result, the dispatches between two calls of the network, what it reads back. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Device } from '../../src/engine/index.ts';
import { GpuSpace } from '../../src/pipelines/gpu/gpuSpace.ts';
import { HostSpace, TorchGenerator, type SamplerState } from '../../src/sampler/index.ts';
import { SOLVER_CASES, toyNetwork, type RunExtras, type SolverCase } from '../sampler/catalogue/index.ts';
import { expectClose, trajectoryTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { openDevice } from '../support/runGraph.ts';

/**
 * One dispatch from one call of the network to the next is the rule: guidance, solver, clipping, history and the
 * scaling of the next input together. Here is what costs more, and why; and what is read back in a step.
 */
const EXCEPTIONS: readonly [RegExp, { dispatches: number; reads?: number; why: string }][] = [
  [/dynamic thresholding/, { dispatches: 3, why: 'x₀, its quantile, the update' }],
  [/ScoreSdeVe|predictorCorrector .* langevin/, { dispatches: 4, why: 'two norms, their ratio, the update' }],
  [/dpmSolverAdaptive/, { dispatches: 2, reads: 1, why: 'both orders and their error; its norm, which decides' }],
  [/dpmAdaptive/, { dispatches: 3, reads: 1, why: 'the same, and then the input of the network is scaled' }],
  [/probabilityFlow/, { dispatches: 3, reads: 1, why: 'the error; its norm, which chooses the step; the first stage' }],
  [/logLikelihood/, { dispatches: 3, reads: 7, why: 'six divergences along the probe and the norm of the error' }],
  [/rescaled/, { dispatches: 5, why: 'the guided output, two deviations, their ratio, the update' }],
  [/consistencyEdit (brightness|patches)/, { dispatches: 3, why: 'what x₀ lacks, its part in each box, the update' }],
  [/RePaint/, { dispatches: 57, why: 'on the way back up each of 332 training steps draws, some six to a dispatch' }],
];

/** What a run did. */
interface Run {
  x: ArrayLike<number>;
  /** Dispatches between two calls of the network, the most. */
  most: number;
  /** Read-backs per step but those of the network, the most. */
  reads: number;
  calls: number;
  steps: number;
  states: SamplerState[];
}

async function runOn(
  space: HostSpace | GpuSpace,
  solver: SolverCase,
  extras: RunExtras = {},
  keep = false,
): Promise<Run> {
  const run: Run = { x: [], most: 0, reads: 0, calls: 0, steps: 0, states: [] };
  const network = toyNetwork(space, (v) => space.read(v))(/learned.range/.test(solver.name) ? 2 : 1);
  const dispatches = (): number => (space instanceof GpuSpace ? space.dispatches : 0);
  const device = space instanceof GpuSpace ? countReads(space.device) : { reads: 0, stop: () => undefined };
  let [last, atStep] = [-1, 0];
  const x = await solver.run(
    space,
    async (v, t, signal) => {
      const before = device.reads;
      const out = await network(v, t, signal);
      device.reads = before;
      // What the network asked for is computed by now, and it made nothing else.
      if (last >= 0) run.most = Math.max(run.most, dispatches() - last);
      last = dispatches();
      run.calls++;
      return out;
    },
    {
      generator: new TorchGenerator(1),
      onStep: async (event) => {
        // Adaptive methods choose their first step by norms of their own.
        if (solver.adaptive && event.step === 1) run.most = 0;
        else run.reads = Math.max(run.reads, device.reads - atStep);
        run.steps = event.step;
        if (keep) run.states.push(JSON.parse(JSON.stringify(await event.state())) as SamplerState);
        atStep = device.reads;
      },
      ...extras,
    },
  );
  device.stop();
  run.x = await space.read(x);
  space.release(x);
  return run;
}

/** Counts what is read back from a device. */
function countReads(device: Device): { reads: number; stop: () => void } {
  const read = device.read.bind(device);
  const counter = { reads: 0, stop: () => void (device.read = read) };
  device.read = (...args) => (counter.reads++, read(...args));
  return counter;
}

describe.each(adapters())('every sampler on %s', (adapter) => {
  let space: GpuSpace;
  const table: string[][] = [];
  beforeAll(async () => {
    space = await GpuSpace.open(await openDevice(adapter));
  });
  afterAll(() => {
    space.dispose();
    const line = (cells: readonly string[]): string => cells.map((c, i) => c.padEnd([58, 11, 11, 6][i])).join('');
    console.log([line(['sampler', 'calls/step', 'dispatches', 'reads']), ...table.map(line)].join('\n'));
  });

  it.each(SOLVER_CASES.map((c) => [c.name, c] as const))('%s', async (name, solver) => {
    const want = await runOn(new HostSpace(), solver, {}, true);
    const got = await runOn(space, solver);
    const largest = Math.max(
      ...want.states
        .flatMap(({ x, history }) => [x, ...history])
        .flat()
        .map(Math.abs),
    );
    expectClose(got.x, want.x, trajectoryTolerance(want.calls, Math.max(largest, 10)));
    expect([got.calls, got.steps]).toEqual([want.calls, want.steps]);
    const { dispatches, reads = 0 } = EXCEPTIONS.find(([pattern]) => pattern.test(name))?.[1] ?? { dispatches: 1 };
    table.push([name, (got.calls / got.steps).toFixed(1), String(got.most), String(got.reads)]);
    expect([got.most, got.reads]).toEqual([dispatches, reads]);
  });

  const some = /DDPMScheduler, learned|UniPC.*third|lms of order 6|dpmppSde|dpmAdaptive, η|reverse_diffusion langevin/;
  it.each(SOLVER_CASES.filter((c) => some.test(c.name)).map((c) => [c.name, c] as const))(
    '%s resumes in the same bits',
    async (_name, solver) => {
      const whole = await runOn(space, solver, {}, true);
      // Looking at the state after each step changes nothing.
      expectClose(whole.x, (await runOn(space, solver)).x, 0);
      for (const resume of whole.states.slice(0, -1))
        expectClose((await runOn(space, solver, { resume })).x, whole.x, 0, `from step ${resume.step}`);
    },
  );
});
