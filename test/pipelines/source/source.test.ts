/** What `fromPretrained` accepts, against a hub that stands on this machine. */
import { afterEach, describe, expect, test } from 'vitest';
import { FormatError, InvalidArgumentError, NotFoundError } from '../../../src/engine/errors.ts';
import { filesDirectory } from '../../../src/loading/directory.ts';
import { openWeights, readModelIndex } from '../../../src/loading/component.ts';
import { openSingleFile } from '../../../src/models/singleFile.ts';
import { resolveFile } from '../../../src/pipelines/source/singleFileSource.ts';
import { resolveSource } from '../../../src/pipelines/source/source.ts';
import { expectError, f32, file } from '../../loading/files.ts';
import { serve, type Served, type ServerOptions } from '../../loading/server.ts';

const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const weights = file({ w: f32([3]) });
const INDEX = text({ _class_name: 'StableDiffusionPipeline', unet: ['diffusers', 'UNet2DConditionModel'] });

let server: Served;
afterEach(() => server.close());
const hub = async (files: Record<string, Uint8Array>, options?: ServerOptions) => {
  server = await serve(files, options);
  return { endpoint: `${server.url}/` };
};

describe('a hub name', () => {
  test('revision, subfolder in name and option, token, variant, shards', async () => {
    const tokens = new Set<string | undefined>();
    const addresses = new Set<string>();
    const at = await hub(
      {
        'org/model/resolve/main/model_index.json': INDEX,
        'org/model/resolve/refs/pr/1/unet/diffusion_pytorch_model.fp16.safetensors': weights,
        'org/model/resolve/main/big/model.safetensors.index.json': text({
          weight_map: { w: 'model-00001-of-00002.safetensors', v: 'model-00002-of-00002.safetensors' },
        }),
        'org/model/resolve/main/big/model-00001-of-00002.safetensors': weights,
        'org/model/resolve/main/big/model-00002-of-00002.safetensors': file({ v: f32([2]) }),
      },
      {
        hook: (request) => {
          tokens.add(request.headers.authorization);
          addresses.add(request.url ?? '');
          return false;
        },
      },
    );
    const index = await readModelIndex(resolveSource('org/model', { ...at, token: 'secret' }));
    expect(index.className).toBe('StableDiffusionPipeline');
    expect(tokens).toEqual(new Set(['Bearer secret']));
    const revision = 'refs/pr/1';
    for (const directory of [
      resolveSource('org/model/unet', { ...at, revision }),
      resolveSource('org/model', { ...at, revision, subfolder: 'unet' }),
      resolveSource('org/model', { ...at, revision }).folder('unet'),
    ]) {
      // Without a variant the half-precision file stands in for the plain one that is not there.
      for (const variant of ['fp16', undefined]) {
        const checkpoint = await openWeights(directory, { variant });
        expect([...(await checkpoint.read('w'))]).toEqual([0, 1, 2]);
        await checkpoint.close();
      }
    }
    // A slash in a revision is part of its name.
    expect([...addresses]).toContain('/org/model/resolve/refs%2Fpr%2F1/unet/diffusion_pytorch_model.fp16.safetensors');
    const shards = await openWeights(resolveSource('org/model', { ...at, subfolder: 'big' }));
    expect(shards.keys().sort()).toEqual(['v', 'w']);
    await shards.close();
  });

  const answers = (status: number, code?: string): ServerOptions => ({
    hook: (_, response) => {
      response.writeHead(status, code ? { 'x-error-code': code } : {}).end();
      return true;
    },
  });

  test.each([
    [401, 'RepoNotFound', /401; there is no such model, or it is private: check its name, or pass a token/],
    [401, undefined, /401; access is refused: pass a token/],
    [401, 'GatedRepo', /401; the model is gated: accept its terms on its page, then pass a token/],
    [403, 'GatedRepo', /403; the model is gated/],
    [404, 'RepoNotFound', /404; there is no such model/],
    [404, 'RevisionNotFound', /404; there is no such revision of the model: check the branch/],
    [404, 'EntryNotFound', /404; the model has no such file: check the subfolder and the variant/],
    [404, undefined, /404; there is no such file: check the address/],
  ])('status %i %s', async (status, code, message) => {
    const directory = resolveSource('org/model', await hub({}, answers(status, code)));
    await expectError(
      readModelIndex(directory),
      NotFoundError,
      /org\/model\/resolve\/main\/model_index\.json/,
      message,
    );
    // What concerns the whole model is no plain "it is not there".
    const whole = status === 401 || (code !== undefined && code !== 'EntryNotFound');
    if (whole) await expectError(openWeights(directory), NotFoundError, message);
    else await expectError(openWeights(directory), NotFoundError, /got no safetensors file; check the folder/);
  });

  test('a missing shard is named', async () => {
    const at = await hub({
      'o/m/resolve/main/model.safetensors.index.json': text({ weight_map: { w: 'model-00001-of-00001.safetensors' } }),
    });
    await expectError(
      openWeights(resolveSource('o/m', at)),
      NotFoundError,
      /expected the shard model-00001-of-00001\.safetensors, which holds w, got none/,
    );
  });

  test('only pickles there', async () => {
    const at = await hub({ 'o/m/resolve/main/diffusion_pytorch_model.bin': new Uint8Array(9) });
    await expectError(openWeights(resolveSource('o/m', at)), FormatError, /is a pickle/, /take the safetensors form/);
  });

  test('neither name nor address', async () => {
    await hub({});
    await expectError(() => resolveSource('./models/x'), InvalidArgumentError, /daguerre\/node/);
    await expectError(() => resolveSource('alone'), InvalidArgumentError);
  });
});

describe('one file', () => {
  const vae = file({ 'encoder.extra.weight': f32([1]) });

  test('by URL, by the page of it, by hub name, as picked', async () => {
    const at = await hub({
      'o/m/resolve/main/sd.safetensors': weights,
      'o/m/resolve/main/sub/sd.safetensors': weights,
      'direct/sd.safetensors': weights,
    });
    for (const source of [
      resolveFile(`${server.url}/direct/sd.safetensors?download=true`),
      resolveFile(new URL(`${server.url}/o/m/blob/main/sd.safetensors`)),
      resolveFile('o/m/sd.safetensors', at),
      resolveFile('o/m/sub/sd.safetensors', at),
      resolveFile('o/m/sd.safetensors', { ...at, subfolder: 'sub' }),
      resolveFile([new File([weights as Uint8Array<ArrayBuffer>], 'sd.safetensors')]),
    ]) {
      expect(await source!.size()).toBe(weights.length);
    }
    expect(resolveFile('org/model')).toBeUndefined();
    expect(resolveFile(`${server.url}/folder`)).toBeUndefined();
    expect(resolveFile([new File([], 'a.safetensors'), new File([], 'b.json')])).toBeUndefined();
    expect(resolveFile(filesDirectory({}))).toBeUndefined();
  });

  test('a pickle is refused before it is read', async () => {
    const at = await hub({ 'o/m/resolve/main/v1-5.ckpt': vae });
    const source = resolveFile('o/m/v1-5.ckpt', at)!;
    await expectError(openSingleFile(source), FormatError, /pickle/);
  });
});
