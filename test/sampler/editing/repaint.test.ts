import { describe, expect, test } from 'vitest';
import { ShapeError } from '../../../src/engine/errors.ts';
import {
  HostSpace,
  samplerFrom,
  TorchGenerator,
  type HostValues,
  type LinearForm,
  type Network,
  type Vec,
} from '../../../src/sampler/index.ts';

/** Counts what a step makes. */
class CountingSpace extends HostSpace {
  peak = 0;
  private alive = 0;

  override materialise(form: LinearForm): Vec {
    return this.count(super.materialise(form));
  }

  override upload(values: HostValues, like: Vec): Vec {
    return this.count(super.upload(values, like));
  }

  override mask(inside: LinearForm, outside: LinearForm, mask: Vec): Vec {
    return this.count(super.mask(inside, outside, mask));
  }

  override endStep(): void {
    this.alive = 0;
  }

  private count(v: Vec): Vec {
    this.peak = Math.max(this.peak, ++this.alive);
    return v;
  }
}

const SIZE = 8;
const network: Network = (x) => x;

async function run(space: HostSpace, options: object = {}): Promise<number[]> {
  const sampler = samplerFrom({ _class_name: 'RePaintScheduler' });
  const seen: number[] = [];
  await sampler.sample({
    denoiser: sampler.denoiser(network),
    x: space.vec(new TorchGenerator(1).randn(SIZE)),
    numInferenceSteps: 6,
    jumpLength: 2,
    jumpNSample: 2,
    generator: new TorchGenerator(2),
    originalImage: space.vec(new TorchGenerator(3).randn(SIZE)),
    mask: space.vec([1, 1, 1, 1, 0, 0, 0, 0]),
    onStep: (e) => void seen.push(e.timestep),
    ...options,
  });
  return seen;
}

describe('RePaint', () => {
  test('jumps back as published: two down, and back up twice as often as asked', async () => {
    // Lugmayr et al. 2022, appendix B: t falls; where a jump is due it rises by the jump's length again.
    const stride = Math.floor(1000 / 6);
    const published = [5, 4, 3, 2, 3, 4, 3, 2, 1, 0, 1, 2, 1, 0];
    // A step up is told where it starts, which the published list names after its end.
    const told = published.map((t, i) => (t > (published[i - 1] ?? 9) ? published[i - 1] : t));
    expect(await run(new HostSpace('f64'))).toEqual(told.map((t) => t * stride));
  });

  test('a way up of 166 small steps holds no more vectors than a step down', async () => {
    const space = new CountingSpace('f64');
    await run(space);
    expect(space.peak).toBeLessThan(8);
  });

  test('a mask of another shape is refused', async () => {
    const mask = new HostSpace('f64').vec([1, 0]);
    await expect(run(new HostSpace('f64'), { mask })).rejects.toThrow(ShapeError);
  });
});
