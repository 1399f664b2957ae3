import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { readTruth, truthError } from '../../bench/models/truth.ts';
import { torchVariants } from '../../bench/peers/engines/torch.ts';
import { missingPeers, peersOver, type Available, type Spawn } from '../../bench/peers/peers.ts';
import { PeerClient, type Job } from '../../bench/peers/protocol.ts';
import { findTorch, lineChannel, pythonChannel } from '../../bench/peers/python.ts';
import { pathDirectory } from '../../src/node/fileSource.ts';
import { NETWORK_NORM } from '../support/close.ts';

const SCRIPTS = join('bench', 'peers');
const model = 'ddpm-cifar10-32';
const job: Job = { engine: 'torch', device: 'cpu', variant: 'eager', work: { model }, dtype: 'f32' };
const opened = { version: '2.9', settings: 'eager', pipelined: false };

type Asked = { id: number; body: { method: string; runs?: number; job?: Job } };

/** What the other side would answer, as lines. */
function reply({ id, body }: Asked): string {
  const bytes = Buffer.from(Float32Array.of(1, -2.5, 3).buffer).toString('base64');
  const bodies: Record<string, object> = { open: { opened }, first: { ms: 7 }, run: { ms: 2 * body.runs! } };
  return JSON.stringify({ id, body: bodies[body.method] ?? { output: bytes } });
}

/** Another side within this process; halves of lines arrive apart. */
function fake(asked: Asked[] = []): ReturnType<Spawn> {
  const [input, output] = [new PassThrough(), new PassThrough()];
  input.on('data', (chunk: Buffer) => {
    for (const line of chunk.toString().trim().split('\n')) {
      const message = JSON.parse(line) as Asked;
      asked.push(message);
      const text = `${reply(message)}\n`;
      output.write(text.slice(0, 9));
      setImmediate(() => output.write(text.slice(9)));
    }
  });
  return { ...lineChannel(input, output), close: () => void input.end() };
}

describe('PyTorch as a peer', () => {
  const available: Available = {
    ...{ onnxruntime: false, cpu: false, 'jax-js': false, tfjs: false },
    models: () => false,
  };
  const nobody: Spawn = () => {
    throw new Error('another peer was started');
  };

  test('takes part in models, on the processor as a mark to come near', async () => {
    const asked: Asked[] = [];
    const peers = peersOver(nobody, { ...available, torch: { cuda: false, spawn: () => fake(asked) } });
    expect(peers.map((p) => [p.name, p.native])).toEqual([['torch', true]]);
    expect(peers[0].variants({ problem: { op: 'matmul', M: 1, N: 1, K: 1 } as never }, 'f32')).toEqual([]);
    const subject = await peers[0].open({ model }, 'eager', 'f32');
    expect(subject).toMatchObject(opened);
    expect(await subject.first()).toBe(7);
    expect(await subject.run(4)).toBe(8);
    expect(await subject.output()).toEqual(Float32Array.of(1, -2.5, 3));
    await subject.dispose();
    expect(asked[0].body).toEqual({ method: 'open', job });
  });

  test('competes where it has a GPU', async () => {
    const asked: Asked[] = [];
    const [torch] = peersOver(nobody, { ...available, torch: { cuda: true, spawn: () => fake(asked) } });
    expect(torch.native).toBe(false);
    await torch.open({ model }, 'eager, TF32', 'f16');
    expect(asked[0].body.job).toMatchObject({ device: 'cuda', variant: 'eager, TF32', dtype: 'f16' });
  });

  test('tries layouts where there are convolutions, TF32 for f32 on a GPU, and halves there only', () => {
    const layouts = ['eager', 'eager, channels last'];
    expect(torchVariants('sd15-unet', 'f16', true)).toEqual(layouts);
    expect(torchVariants('sd15-unet', 'f32', false)).toEqual(layouts);
    expect(torchVariants('sd15-unet', 'f16', false)).toEqual([]);
    expect(torchVariants('dit-xl-2', 'f16', true)).toEqual(['eager']);
    expect(torchVariants('dit-xl-2', 'f32', true)).toEqual(['eager', 'eager, TF32']);
  });

  test('is named where it was asked for and is not there', () => {
    expect(missingPeers(peersOver(nobody, available), ['torch'])).toEqual(['torch']);
    const torch = { cuda: false, spawn: nobody };
    expect(missingPeers(peersOver(nobody, { ...available, torch }), ['torch'])).toEqual([]);
    expect(missingPeers([], undefined)).toEqual([]);
  });
});

describe('a process that answers lines', () => {
  const folder = mkdtempSync(join(tmpdir(), 'daguerre-python-'));
  const script = (name: string, text: string) => writeFileSync(join(folder, name), text);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  afterEach(() => vi.unstubAllEnvs());
  // What stands in for Python here runs JavaScript, whatever the file is called.
  const client = (name: string) => {
    vi.stubEnv('PYTHON', process.execPath);
    return new PeerClient(pythonChannel(folder, name));
  };

  test('that ends says why', async () => {
    script('ends.cjs', `console.error('no memory'); process.exitCode = 3;`);
    await expect(client('ends.cjs').open(job)).rejects.toThrow(/ended: 3; no memory/);
  });

  test('that cannot be started is told of', async () => {
    vi.stubEnv('PYTHON', join(folder, 'nothing'));
    await expect(new PeerClient(pythonChannel(folder, 'x')).open(job)).rejects.toThrow(/ended: .*ENOENT/);
  });

  test('may say what went wrong', async () => {
    script(
      'errs.cjs',
      `require('readline').createInterface({ input: process.stdin }).on('line', (line) =>
        console.log(JSON.stringify({ id: JSON.parse(line).id, body: { error: 'torch: RuntimeError: expected CUDA' } })));`,
    );
    await expect(client('errs.cjs').open(job)).rejects.toThrow(/expected CUDA/);
  });

  test('without PyTorch offers none', async () => {
    for (const said of ['null', 'no JSON', '']) {
      script('torch_probe.py', `console.log(${JSON.stringify(said)})`); // JavaScript too
      vi.stubEnv('PYTHON', process.execPath);
      expect(await findTorch(folder)).toBeUndefined();
    }
    vi.stubEnv('PYTHON', join(folder, 'nothing'));
    expect(await findTorch(folder)).toBeUndefined();
  });
});

const torch = await findTorch(SCRIPTS);

describe(`PyTorch itself${torch ? '' : ' (not here: not tested)'}`, () => {
  test.skipIf(!torch)(
    'makes of the same seeds what was recorded',
    async () => {
      const channel = pythonChannel(SCRIPTS, 'torch_eager.py');
      try {
        const client = new PeerClient(channel);
        await expect(client.first()).rejects.toThrow(/expected open before first/);
        expect((await client.open({ ...job, variant: 'eager, channels last' })).settings).toMatch(/channels last/);
        expect(await client.first()).toBeGreaterThan(0);
        const truth = await readTruth(pathDirectory(join('bench', 'models', 'truth')), model);
        expect(truthError(await client.output(), truth)).toBeLessThan(NETWORK_NORM);
      } finally {
        channel.close();
      }
    },
    120_000,
  );
});
