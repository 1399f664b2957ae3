/** Pictures as CLIP's encoder wants them: what transformers and Pillow make of the same bytes. */
import { expect, test } from 'vitest';
import { ConfigError } from '../../../src/engine/index.ts';
import {
  processClipImage,
  readClipImageProcessorConfig,
} from '../../../src/models/imageEncoders/clipImageProcessor.ts';
import { Recording } from '../../../src/node/parity/recording.ts';
import { dotTolerance, expectClose } from '../../support/close.ts';
import { fixture } from '../fixtures.ts';

const folder = fixture('pipelines/unclip_variation');
const raw = () => folder.json('feature_extractor/preprocessor_config.json') as Promise<Record<string, unknown>>;
// A value and a mean of order one and a division, which round once each; the deviations are above 0.2.
const TOLERANCE = dotTolerance('f32', 1, 5);

test('resized, cut and normed', async () => {
  const io = await Recording.open(folder);
  const { data, shape } = await io.tensor('in.picture');
  const [, height, width] = shape;
  const size = height * width * 3;
  const config = readClipImageProcessorConfig(await raw());
  const want = (await io.tensor('in.pixel_values')).data;
  for (const b of [0, 1]) {
    const picture = { data: Uint8Array.from(data.subarray(b * size, (b + 1) * size)), height, width };
    const got = processClipImage(config, picture);
    expect(got.shape).toEqual([3, 12, 12]);
    expectClose(got.data, want.subarray(b * 432, (b + 1) * 432), TOLERANCE, `picture ${b}`);
  }
  const other = readClipImageProcessorConfig({
    ...(await raw()),
    size: { shortest_edge: 40 },
    crop_size: { height: 48, width: 37 },
    image_mean: [0.5, 0.4, 0.3],
    image_std: [0.2, 0.3, 0.4],
  });
  const got = processClipImage(other, { data: Uint8Array.from(data.subarray(0, size)), height, width });
  expectClose(got.data, (await io.tensor('in.pixel_values_other')).data, TOLERANCE, 'enlarged, padded');
  await io.close();
});

test('sizes in all their forms; what is not understood is refused', async () => {
  const config = async (fields: object) => readClipImageProcessorConfig({ ...(await raw()), ...fields });
  expect((await config({ size: 30, crop_size: 28 })).size).toBe(30);
  expect((await config({ size: { height: 5, width: 6 } })).size).toEqual([5, 6]);
  expect((await config({ crop_size: 28 })).cropSize).toEqual([28, 28]);
  expect((await config({ do_resize: false, do_center_crop: false })).size).toBeNull();
  await expect(config({ resample: 1 })).rejects.toThrow(ConfigError);
  await expect(config({ size: { longest_edge: 5 } })).rejects.toThrow(/size/);
  await expect(config({ do_pad: true })).rejects.toThrow(/do_pad/);
});
