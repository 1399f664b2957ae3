/**
 * Attention by subgroup matrices, which only the newest software adapters have: elsewhere with
 * `test/support/emulateMatrices.ts`.
 */
import { describe, expect, it } from 'vitest';
import { create } from 'webgpu';
import {
  DEFAULT_CAPABILITIES,
  Device,
  Graph,
  lowerNodes,
  specialise,
  type Capabilities,
  type DeviceOptions,
  type MatrixForm,
} from '../../../src/engine/index.ts';
import { attention } from '../../../src/kernels/attention.ts';
import { attentionMatrixKernel } from '../../../src/kernels/attentionMatrices.ts';
import { installGlobals } from '../../../src/node/adapter.ts';
import { attentionReference, type AttentionShape } from '../../reference/attention.ts';
import { attentionTolerance, expectClose } from '../../support/close.ts';
import { openMatrixDevice, type Edit } from '../../support/emulateMatrices.ts';
import { adapters, isFullRun } from '../../support/gpu.ts';
import { normals, roundTo, uniform } from '../../support/random.ts';
import { runGraph } from '../../support/runGraph.ts';

interface Case extends AttentionShape {
  way: string;
  /** Sizes of the matrices; default {@link FORM}. */
  form?: MatrixForm;
  masked?: boolean;
  /** Of the queries: with large ones, maxima grow late, and by much. */
  std?: number;
}

function record({ B, T, S, heads, d }: AttentionShape, masked = false, dtype: 'f32' | 'f16' = 'f16') {
  const g = new Graph(dtype);
  const rows = { layout: 'rows', dtype } as const;
  const input = (name: string, length: number) => g.input(name, [B, length, heads * d], rows);
  const mask = masked ? g.input('mask', [B, 1, T, S], { layout: 'rows' }) : undefined;
  g.output('y', attention(input('q', T), input('k', S), input('v', S), { heads, mask }));
  return g;
}

async function difference(adapter: string, c: Case, edit?: Edit) {
  const { B, T, S, heads, d, way, form, masked, std = 1 } = c;
  const options: DeviceOptions = adapter === 'swiftshader' ? { without: ['shader-f16'] } : {};
  const device = await openMatrixDevice(adapter, options, { form, edit });
  const width = heads * d;
  const u = uniform(4);
  const mask = Float32Array.from({ length: B * T * S }, () => (u() < 0.3 ? -Infinity : u()));
  const inputs = {
    q: roundTo('f16', normals(1, B * T * width, { std })),
    k: roundTo('f16', normals(2, B * S * width)),
    v: roundTo('f16', normals(3, B * S * width)),
    ...(masked && { mask }),
  };
  const at = masked ? (b: number, _: number, t: number, s: number) => mask[(b * T + t) * S + s] : undefined;
  const { out, score } = attentionReference(inputs.q, inputs.k, inputs.v, c, undefined, at);
  const choices = { get: () => way };
  const { outputs, dispatches } = await runGraph(device, record(c, masked), { inputs, choices });
  const kernels = dispatches.map(({ kernel }) => kernel.name).filter((name) => name !== 'copyRows');
  expect(kernels).toEqual(['attentionMatrix']);
  return () => expectClose(outputs.y, out, attentionTolerance('f16', d, S, score, 5), JSON.stringify(c));
}

const FORM: MatrixForm = '16x16x16';
const cases: Case[] = [
  { way: 'matrices 32x32', B: 2, T: 33, S: 77, heads: 2, d: 40, std: 8 },
  { way: 'matrices 16x32', B: 1, T: 17, S: 65, heads: 1, d: 72, masked: true, std: 4 },
  { way: 'matrices 32x16', form: '8x8x8', B: 1, T: 17, S: 45, heads: 2, d: 20, std: 8 },
  ...(isFullRun ? [{ way: 'matrices 16x32', B: 1, T: 9, S: 40, heads: 2, d: 6, std: 8 }] : []),
  ...(isFullRun
    ? [{ way: 'matrices 32x32', form: '8x16x16' as const, B: 1, T: 33, S: 77, heads: 2, d: 40, std: 8 }]
    : []),
];

const instead = (from: string, to: string): Edit => ({
  name: `${to} instead of ${from}`,
  apply: (code) => code.replaceAll(from, to),
});

/**
 * Barriers are counted from the top. Those between lanes that software adapters run side by side cannot be missed
 * there.
 */
const withoutBarrier = (n: number): Edit => ({
  name: `without barrier ${n}`,
  apply(code) {
    let seen = 0;
    return code.includes('const SLACK')
      ? code.replace(/workgroupBarrier\(\);/g, (all) => (seen++ === n ? '' : all))
      : code;
  },
});

describe.each(adapters())('attention by subgroup matrices on %s', (adapter) => {
  // lavapipe takes from ten seconds to a minute to translate each.
  const here = adapter === 'lavapipe' && !isFullRun ? [] : cases;
  it.each(here.map((c) => ({ form: FORM, ...c })))('$way $form B=$B T=$T S=$S heads=$heads d=$d', async (c) => {
    (await difference(adapter, c))();
  });

  // What the emulation is worth: a kernel that works by luck is found out.
  const barriers = isFullRun ? [0, 1, 2, 5, 6, 8, 16, 17, 18] : [1];
  const resets = isFullRun ? [instead('c0=Result()', 'c0=c1')] : [];
  const edits = [instead('top + SLACK', 'top + 1e9'), ...resets, ...barriers.map(withoutBarrier)];
  it.runIf(adapter !== 'lavapipe').each(edits.map((edit) => [edit.name, edit] as const))(
    'needs %s',
    async (_, edit) => {
      const c = { way: 'matrices 32x32', B: 1, T: 17, S: 65, heads: 1, d: 40, std: 32 };
      expect(await difference(adapter, c, edit)).toThrow(/worst/);
    },
  );
});

const sizes = { B: 2, T: 4096, S: 4096, heads: 8, d: 40 };
const names = (shape: AttentionShape, dtype: 'f32' | 'f16', caps: Partial<Capabilities> = {}) => {
  const g = record(shape, false, dtype);
  let found: { usual: string; ways: readonly string[] } | undefined;
  const all: Capabilities = { ...DEFAULT_CAPABILITIES, f16: true, matrices: '16x16x16', subgroupSize: 32, ...caps };
  lowerNodes(g, g.nodes, all, { onChoice: (place) => (found = place) });
  return found!;
};

describe('ways by subgroup matrices', () => {
  it('are only taken where the device has them and values are halves', () => {
    expect(names(sizes, 'f16').usual).toBe('matrices 32x32');
    expect(names(sizes, 'f32').ways).not.toContain('matrices 32x32');
    expect(names(sizes, 'f16', { matrices: undefined }).ways).not.toContain('matrices 32x32');
  });

  it('are as large as memory and queries allow', () => {
    const limits = { ...DEFAULT_CAPABILITIES.limits, maxComputeWorkgroupStorageSize: 49152 };
    expect(names(sizes, 'f16', { limits }).usual).toBe('matrices 64x32');
    expect(names({ ...sizes, T: 256, d: 160 }, 'f16', { limits }).usual).toBe('matrices 32x32');
    expect(names({ ...sizes, d: 160 }, 'f16').usual).toMatch(/^tile/);
    expect(names({ ...sizes, T: 1 }, 'f16').usual).toBe('block');
  });

  it('are what the compiler accepts', async () => {
    // No adapter of ours has them, but Dawn's compiler does; it is reached without any driver.
    await installGlobals();
    const gpu = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
    Object.assign(globalThis, { daguerreAttentionGpu: gpu });
    const device = await Device.open({ gpu });
    // It also wants workgroups of its widest subgroups, 128 lanes.
    const { shader } = attentionMatrixKernel;
    for (const [MM, MN, MK, DOWN, ACROSS, d] of [
      [16, 16, 16, 2, 2, 40],
      [16, 16, 16, 2, 2, 80],
      [16, 16, 16, 2, 2, 6],
      [16, 16, 16, 4, 1, 40],
      [8, 16, 16, 4, 2, 40],
      [8, 8, 16, 8, 2, 40],
      [8, 8, 8, 8, 2, 36],
    ]) {
      for (const storage of ['f16', 'f32'] as const) {
        const code = specialise(shader, storage, {
          ...{ MM, MN, MK, DOWN, ACROSS },
          ...{ D4: Math.ceil(d / 4), HAS_MASK: d === 40 },
        });
        await device.pipelines.get(code, shader.bindings, `attentionMatrix ${d}`);
      }
    }
    device.dispose();
  });
});
