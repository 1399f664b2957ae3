/** CLIP's picture encoder: recorded numbers, what is refused, what is left behind. */
import { expect, test } from 'vitest';
import { InvalidArgumentError, WeightError } from '../../../src/engine/index.ts';
import { CLIPVisionModelWithProjection } from '../../../src/models/imageEncoders/clipVisionModel.ts';
import { Recording } from '../../../src/node/parity/recording.ts';
import { expectClose, NETWORK_NORM } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { changed, failure, fixture } from '../fixtures.ts';
import { openDevice } from '../../support/runGraph.ts';

const device = await openDevice(adapters()[0]);
const NAME = 'pipelines/unclip_variation/image_encoder';

test('embeddings and states as transformers gives them; nothing is left behind', async () => {
  const before = { ...device.held };
  const io = await Recording.open(fixture('pipelines/unclip_variation'));
  const model = await CLIPVisionModelWithProjection.load(device, fixture(NAME));
  const pixelValues = await io.tensor('in.pixel_values');
  const out = await model.forward({ pixelValues, hiddenStates: [-2] });
  for (const [name, got] of Object.entries({
    image_embeds: out.imageEmbeds,
    last_hidden_state: out.lastHiddenState,
    hidden_minus_2: out.hiddenStates[0],
    pooled: out.poolerOutput,
  })) {
    const want = await io.tensor(`out.${name}`);
    expect(got.shape).toEqual(want.shape);
    expectClose(await got.read(), want.data, NETWORK_NORM, name);
  }
  expect(model.plan({ batch: 2 }).dispatches).toBeGreaterThan(0);
  const wrong = { data: pixelValues.data.slice(0, 3 * 121), shape: [1, 3, 11, 11] };
  expect(await failure(model.forward({ pixelValues: wrong }))).toBeInstanceOf(InvalidArgumentError);
  expect((await failure(model.forward({ pixelValues, hiddenStates: [3] }))).message).toMatch(/from -3 to 2, got 3/);
  model.dispose();
  await io.close();
  await device.idle();
  expect(device.held).toEqual(before);
});

test('every key is read', async () => {
  const FILE = 'model.safetensors';
  const more = await changed(
    NAME,
    { weights: (w) => void (w['vision_model.extra'] = w['visual_projection.weight']) },
    FILE,
  );
  expect(await failure(CLIPVisionModelWithProjection.load(device, more))).toBeInstanceOf(WeightError);
  const less = await changed(NAME, { weights: (w) => delete w['vision_model.pre_layrnorm.bias'] }, FILE);
  expect((await failure(CLIPVisionModelWithProjection.load(device, less))).message).toMatch(/pre_layrnorm\.bias/);
});
