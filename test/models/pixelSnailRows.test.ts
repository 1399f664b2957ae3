/** PixelSNAIL draws row by row from what it keeps of the rows above: the same codes as from whole maps. */
import { describe, expect, it } from 'vitest';
import { AbortedError } from '../../src/engine/index.ts';
import { Checkpoint, type RawConfig } from '../../src/loading/index.ts';
import { MemorySource } from '../../src/loading/source.ts';
import { drawCode, PixelSnail } from '../../src/models/pixelSnail/pixelSnailModel.ts';
import { rowMask } from '../../src/models/pixelSnail/pixelSnailRows.ts';
import { TorchGenerator } from '../../src/sampler/index.ts';
import { heldBy } from '../pipelines/folders.ts';
import { CONDITIONED, prior } from '../pipelines/autoregressive/vqVaeFiles.ts';
import { adapters } from '../support/gpu.ts';
import { openDevice } from '../support/runGraph.ts';
import { failure } from './fixtures.ts';

const adapter = adapters().at(-1)!; // the faster of them: a draw is a call
const device = await openDevice(adapter);

async function open(shape: readonly number[], n: number, changes: RawConfig) {
  const { config, bytes } = prior(shape, n, 3, changes);
  const checkpoint = await Checkpoint.open(new MemorySource(bytes, 'prior'));
  return PixelSnail.load(device, { config, checkpoint }, { dtype: 'f32' });
}

describe(`rows on ${adapter}`, () => {
  // Deeper and wider kernels see further up; maps that are not square; a width of channels that no vec4 divides.
  it.each([
    ['attention in two blocks', [5, 4], { n_block: 2, kernel_size: 5, n_res_block: 2, n_out_res_block: 1 }],
    ['one row', [1, 7], {}],
    ['one column', [6, 1], { n_block: 2 }],
    ['a condition', [6, 4], { ...CONDITIONED, n_res_block: 2, kernel_size: 5 }],
    ['an odd width', [4, 3], { attention: false, channel: 18, res_channel: 6, kernel_size: 7 }],
  ] as [string, number[], RawConfig][])('%s', async (_, shape, changes) => {
    const before = await heldBy(device);
    const [H, W] = shape;
    const n = 11;
    const model = await open(shape, n, changes);
    const g = new TorchGenerator(6);
    const above = Uint32Array.from(g.randint(0, n, Math.ceil((H * W) / 2)));
    const condition = 'n_cond_res_block' in changes ? { data: above, shape: [2, H / 2, W / 2] } : undefined;
    const uniforms = g.rand(2 * H * W);
    const codes = await model.sample({ batch: 2, uniforms, condition });
    expect(new Set(codes).size).toBeGreaterThan(1);

    // A code depends on those before it alone, so that the finished map tells what each was drawn from.
    const logits = await (await model.logits({ data: codes, shape: [2, H, W] }, { condition })).read();
    const T = H * W;
    const again = Array.from(codes, (_code, i) => {
      const [b, t] = [Math.floor(i / T), i % T];
      return drawCode(
        Array.from({ length: n }, (__, k) => logits[(b * n + k) * T + t]),
        uniforms[i],
      );
    });
    expect([...codes]).toEqual(again);
    expect(model.plan(2).dispatches).toBeGreaterThan(5);
    model.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('an abort leaves nothing', async () => {
    const model = await open([3, 3], 9, {});
    const uniforms = new TorchGenerator(1).rand(9);
    const want = await model.sample({ batch: 1, uniforms });
    const held = await heldBy(device);
    const stop = new AbortController();
    const onPixel = (done: number) => void (done === 4 && stop.abort());
    expect(await failure(model.sample({ batch: 1, uniforms, onPixel, signal: stop.signal }))).toBeInstanceOf(
      AbortedError,
    );
    expect(await heldBy(device)).toEqual(held);
    expect(await model.sample({ batch: 1, uniforms })).toEqual(want);
    model.dispose();
  });
});

it('a pixel looks at those of its row before it, and at the last keys kept, which are of the rows above', () => {
  const mask = rowMask([3, 2], 1);
  const seen = [...mask].map((v) => (v === 0 ? 1 : 0));
  expect(seen.slice(0, 8)).toEqual([0, 0, 0, 0, 1, 1, 0, 0]);
  expect(seen.slice(8)).toEqual([0, 0, 0, 0, 1, 1, 1, 0]);
});
