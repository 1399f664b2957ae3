/** unCLIP: recorded runs of the reference library, stage by stage; options, and what is refused and given back. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { TruncationWarning } from '../../src/loading/tokenizers/tokenizer.ts';
import { Recording } from '../../src/node/parity/recording.ts';
import { Pipeline } from '../../src/pipelines/index.ts';
import type { UnclipResult, UnclipStep } from '../../src/pipelines/unclip/options.ts';
import { expectClose, HINT_FACTOR } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { openDevice } from '../support/runGraph.ts';
import { fixture, fixturesPath } from '../models/fixtures.ts';
import { heldBy } from './folders.ts';
import { directory, filesOf, type Files } from './tinyModels.ts';

const device = await openDevice(adapters()[0]);
const NAME = 'pipelines/unclip';

interface Recorded {
  prompt: string[];
  priorNumInferenceSteps: number;
  decoderNumInferenceSteps: number;
  superResNumInferenceSteps: number;
  generator: number;
  tolAbsHint: Record<string, number>;
}

const recorded = JSON.parse(readFileSync(`${fixturesPath}/${NAME}/recording.json`, 'utf8')) as Recorded;
const { tolAbsHint, ...call } = recorded;

const files = (changes: Files = {}): Files => ({
  ...filesOf(NAME),
  ...filesOf('tokenizers/clip', 'tokenizer/'),
  ...changes,
});

/** States after each step, by stage. */
function collector() {
  const states: Record<string, number[]> = { prior: [], decoder: [], superRes: [] };
  const onStep = async ({ stage, state }: UnclipStep) => void states[stage].push(...(await state()).x);
  return { states, onStep };
}

async function planesOf({ images }: UnclipResult): Promise<number[]> {
  const all: number[] = [];
  for (const image of images) {
    all.push(...(await image.toTensor()));
    image.dispose();
  }
  return all;
}

it('every step of every stage is the reference library’s; nothing is left behind', async () => {
  const before = await heldBy(device);
  const io = await Recording.open(fixture(NAME));
  const pipe = await Pipeline.fromPretrained(directory(files(), 'unclip'), { device });
  expect(pipe.sampleSize).toEqual({ width: 20, height: 20 });
  const { states, onStep } = collector();
  const cut: string[] = [];
  const result = await pipe({ ...call, onStep, onWarning: ({ removed }: TruncationWarning) => void cut.push(removed) });
  const want = async (name: string) => (await io.tensor(`out.${name}`)).data;
  const near = (got: ArrayLike<number>, data: ArrayLike<number>, name: string) =>
    expectClose(got, data, HINT_FACTOR * tolAbsHint[name], name);
  near(states.prior, await want('prior'), 'prior');
  near(states.decoder, await want('decoder'), 'decoder');
  near(states.superRes, await want('super_res'), 'super_res');
  near(await planesOf(result), await want('image'), 'image');
  expect(cut).toHaveLength(1);
  expect(result.timing.stepMs).toHaveLength(10);
  expect(pipe.plan().fits).toBe(true);
  await io.close();
  await pipe.dispose();
  expect(await heldBy(device)).toEqual(before);
});
