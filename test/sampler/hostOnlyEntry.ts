/** What a page or a script without a GPU does with `daguerre/sampler`; {@link hostOnly.test.ts} bundles and runs it. */
import * as sampler from '../../src/sampler/index.ts';

const SIZE = 48;

/** Ten guided steps of DDIM with noise, one picture; and which globals a GPU would have brought. */
export async function sampleOnHost(): Promise<{ picture: number[]; exports: number; gpu: string[] }> {
  const { guided, HostSpace, pairOf, samplerFrom, TorchGenerator } = sampler;
  const space = new HostSpace();
  const generator = new TorchGenerator(42);
  const { denoiser, ...rest } = { ...samplerParts(0.4), generator, numInferenceSteps: 10, eta: 0.5 };
  const x = space.vec(generator.randn(SIZE), 2);
  const run = samplerFrom({ _class_name: 'DDIMScheduler' });
  const uncond = samplerParts(-0.2).denoiser;
  const v = await run.sample({ ...rest, x, denoiser: guided(pairOf(uncond, denoiser), 3) });
  const gpu = ['GPU', 'GPUDevice', 'GPUBufferUsage'].filter((name) => name in globalThis);
  if (typeof navigator === 'object' && 'gpu' in navigator) gpu.push('navigator.gpu');
  return { picture: Array.from(await space.read(v)), exports: Object.keys(sampler).length, gpu };
}

function samplerParts(shift: number) {
  const run = sampler.samplerFrom({ _class_name: 'DDIMScheduler' });
  const denoiser = run.denoiser(async (x, t) => {
    const values = await x.space.read(x);
    const out = Float32Array.from(values, (u) => Math.fround(0.9 * Math.tanh(0.7 * u + shift + Math.sin(t / 100))));
    return x.space.upload(out, x);
  });
  return { denoiser };
}

(globalThis as { sampleOnHost?: typeof sampleOnHost }).sampleOnHost = sampleOnHost;
