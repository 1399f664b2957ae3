/** A weight in several bindings gives what one binding gives. */
import { describe, expect, it } from 'vitest';
import { Graph, type Tensor } from '../../src/engine/index.ts';
import { wideConv2d, wideLinear } from '../../src/kernels/index.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals } from '../support/random.ts';
import { openDevice, runGraph } from '../support/runGraph.ts';

const [B, H, W, I, O] = [2, 5, 6, 7, 30];
const rows = { layout: 'rows' } as const;

/** A convolution with everything behind it, and a linear layer likewise, both under a limit of bytes. */
const layers = {
  conv2d(g: Graph, maxBytes: number): Tensor {
    const x = g.input('x', [B, H, W, I], rows);
    const shift = g.input('shift', [B, O], rows);
    const residual = g.input('residual', [B, H, W, O], rows);
    const options = { padding: 1, act: 'silu', shift, residual, scale: 0.5, maxBytes } as const;
    return wideConv2d(x, { key: 'w', shape: [O, I, 3, 3] }, { key: 'b', shape: [O] }, options);
  },
  linear(g: Graph, maxBytes: number): Tensor {
    const x = g.input('x', [B * H, W * I], rows);
    return wideLinear(
      x,
      { key: 'w', shape: [O, W * I] },
      { key: 'b', shape: [O] },
      { act: 'gelu', scale: 0.5, maxBytes },
    );
  },
};

describe.each(adapters())('weights wider than a binding on %s', (adapter) => {
  it.each(['conv2d', 'linear'] as const)('%s', async (name) => {
    const device = await openDevice(adapter);
    const run = async (maxBytes: number) => {
      const g = new Graph();
      g.output('y', layers[name](g, maxBytes));
      const sizes = [...g.inputs].map(([key, { shape }], i) => [
        key,
        normals(
          i,
          shape.reduce((a, b) => a * b),
        ),
      ]);
      const weights = { w: normals(7, name === 'conv2d' ? O * I * 9 : O * W * I), b: normals(8, O) };
      const { outputs } = await runGraph(device, g, { inputs: Object.fromEntries(sizes) as never, weights });
      const parts = [...g.constants.values()].filter((t) => t.constant!.key === 'w');
      for (const { shape } of parts) expect(4 * shape[0] * shape[1]).toBeLessThanOrEqual(maxBytes);
      // One part may be there in the layouts of several ways.
      return { y: outputs.y, parts: new Set(parts.map((t) => String(t.constant!.packing.rows))).size };
    };
    const whole = await run(2 ** 20);
    const split = await run(4 * 12 * (name === 'conv2d' ? 9 * 8 : 44));
    expect([whole.parts, split.parts]).toEqual([1, 3]);
    const terms = name === 'conv2d' ? 9 * I : W * I;
    expectClose(split.y, whole.y, dotTolerance('f32', terms, 5), name);
  });
});
