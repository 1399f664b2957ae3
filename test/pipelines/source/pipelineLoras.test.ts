/** Adapters on a whole pipeline: the same pictures as from merged weights, and the pipeline's own once they are off. */
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, UnsupportedError, WeightError } from '../../../src/engine/index.ts';
import { Pipeline, type Pipeline as Loaded } from '../../../src/pipelines/index.ts';
import { fromHalf } from '../../../src/engine/half.ts';
import { f32, file, type Tensor } from '../../loading/files.ts';
import { failure, fixture, tensorsOf } from '../../models/fixtures.ts';
import { expectClose, networkTolerance } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { normals } from '../../support/random.ts';
import { openDevice } from '../../support/runGraph.ts';
import { directory, filesOf, modelIndex, textFiles, textWeights, type Files } from '../tinyModels.ts';

const device = await openDevice(adapters()[0]);
const LAYERS = 64;
const RANK = 2;
const UNET_KEY = 'down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q.weight';
const TEXT_KEY = 'text_model.encoder.layers.0.self_attn.q_proj.weight';

const parts = ['unet', 'vae', 'scheduler', 'text_encoder', 'tokenizer'];
const files: Files = {
  ...filesOf('pipe_sd_ddim'),
  ...textFiles('', 'CLIPTextModel', 16, 300),
  'model_index.json': modelIndex('StableDiffusionPipeline', parts),
};
const source = directory(files, 'plain');
const call = { prompt: 'a red heart', generator: 4, numInferenceSteps: 2, guidanceScale: 3 };

async function latents(pipe: Loaded): Promise<Float32Array> {
  const result = await pipe(call);
  result.images.forEach((image) => image.dispose());
  return result.latents;
}

const A = (n: number, seed: number) => normals(seed, RANK * n);
const layer = (name: string, out: number, width: number, seed: number) => ({
  [`${name}.lora_A.weight`]: f32([RANK, width], A(width, seed)),
  [`${name}.lora_B.weight`]: f32([out, RANK], A(out, seed + 1)),
});
const picked = (tensors: Record<string, Tensor>, name: string) =>
  new File([file(tensors) as Uint8Array<ArrayBuffer>], name);

/** W + weight·B·A. */
function merged(tensor: Tensor, weight: number, seed: number): Tensor {
  const [O, I] = tensor.shape;
  const stored = tensor.bytes.slice().buffer;
  const values = tensor.dtype === 'F16' ? fromHalf(new Uint16Array(stored)) : new Float32Array(stored);
  const [down, up] = [A(I, seed), A(O, seed + 1)];
  const sum = (o: number, i: number) => up[2 * o] * down[i] + up[2 * o + 1] * down[I + i];
  return f32(
    [...tensor.shape],
    values.map((v, at) => v + weight * sum(Math.floor(at / I), at % I)),
  );
}

const unet = await tensorsOf('pipe_sd_ddim/unet');
const text = textWeights('CLIPTextModel', 16, 300);
const [width, textWidth] = [unet[UNET_KEY].shape[0], 16];
const both = picked(
  {
    ...layer(`unet.${UNET_KEY.slice(0, -7)}`, width, width, 50),
    ...layer(`text_encoder.${TEXT_KEY.slice(0, -7)}`, textWidth, textWidth, 60),
  },
  'both.safetensors',
);

describe('adapters', () => {
  it('on U-Net and text encoder, with weights, exchanged, and off to the bit', async () => {
    const before = { ...device.held };
    const pipe = await Pipeline.fromPretrained(source, { device });
    const plain = await latents(pipe);
    await pipe.loadLoras([
      { source: both, weight: 0.25 },
      { source: both, weight: 0.5 },
    ]);
    const got = await latents(pipe);
    const changedFiles = directory(
      {
        ...files,
        'unet/diffusion_pytorch_model.safetensors': file({ ...unet, [UNET_KEY]: merged(unet[UNET_KEY], 0.75, 50) }),
        'text_encoder/model.safetensors': file({ ...text, [TEXT_KEY]: merged(text[TEXT_KEY], 0.75, 60) }),
      },
      'merged',
    );
    const other = await Pipeline.fromPretrained(changedFiles, { device });
    const want = await latents(other);
    await other.dispose();
    const scale = want.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    expectClose(got, want, networkTolerance('f32', LAYERS, 4 * scale), 'merged');
    expect(got).not.toEqual(plain);
    const alone = picked(layer(`unet.${UNET_KEY.slice(0, -7)}`, width, width, 50), 'unet.safetensors');
    await pipe.loadLoras([{ source: alone }]);
    expect(await latents(pipe)).not.toEqual(got);
    await pipe.unloadLoras();
    expect(await latents(pipe)).toEqual(plain);
    await pipe.dispose();
    expect(device.held).toEqual(before);
  });

  it('one for another model changes nothing', async () => {
    const pipe = await Pipeline.fromPretrained(source, { device });
    await pipe.loadLoras([{ source: both }]);
    const adapted = await latents(pipe);
    const wrong: [Parameters<typeof pipe.loadLoras>[0], new (...args: never[]) => Error, RegExp][] = [
      // The U-Net's half fits and was merged when the text encoder's was found not to.
      [
        [
          {
            source: picked(
              {
                ...layer(`unet.${UNET_KEY.slice(0, -7)}`, width, width, 70),
                ...layer(`text_encoder.${TEXT_KEY.slice(0, -7)}`, 20, 20, 60),
              },
              'wide',
            ),
          },
        ],
        WeightError,
        /made for another model/,
      ],
      [
        [{ source: picked(layer('text_encoder_2.text_model.x', 16, 16, 1), 'xl') }],
        WeightError,
        /layers of unet, text_encoder, got text_encoder_2/,
      ],
      [[{ source: 'org/name' }], InvalidArgumentError, /the file of an adapter/],
      [[{ source: both, weight: NaN }], InvalidArgumentError, /finite weight/],
    ];
    for (const [loras, kind, message] of wrong) {
      const error = await failure(pipe.loadLoras(loras));
      expect(error, String(message)).toBeInstanceOf(kind);
      expect(error.message).toMatch(message);
    }
    expect(await latents(pipe)).toEqual(adapted);
    await pipe.dispose();
  });

  it('other kinds of pipelines take none', async () => {
    const pipe = await Pipeline.fromPretrained(fixture('pipe_dit_dpmpp'), { device });
    expect(await failure(pipe.loadLoras([]))).toBeInstanceOf(UnsupportedError);
    await pipe.dispose();
  });
});
