/** What Dawn's compiler makes of kernels whose loops run in workgroup memory: it holds no index there to its range. */
import { execFile } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import {
  DEFAULT_CAPABILITIES,
  Graph,
  lowerNodes,
  rewriteGraph,
  specialise,
  type Capabilities,
} from '../../src/engine/index.ts';
import { attention } from '../../src/kernels/attention.ts';
import { conv2d } from '../../src/kernels/conv2d.ts';
import { layerNorm } from '../../src/kernels/layerNorm.ts';
import { linear } from '../../src/kernels/matmul.ts';
import { rewrites } from '../../src/kernels/rewrites.ts';
import { softwareEnvironment } from '../../src/node/softwareAdapter.ts';
import { emulateMatrices } from '../support/emulateMatrices.ts';
import { adapters } from '../support/gpu.ts';

/** Compiles shaders one after the other; Dawn writes what it makes of each to the output. */
const CHILD = `
const { create, globals } = await import('webgpu');
Object.assign(globalThis, globals);
const gpu = (globalThis.kept = create(['adapter=llvmpipe', 'enable-dawn-features=dump_shaders,disable_symbol_renaming']));
const device = await (await gpu.requestAdapter()).requestDevice({ requiredFeatures: ['shader-f16'] });
let text = '';
for await (const part of process.stdin) text += part;
for (const code of JSON.parse(text)) {
  const module = device.createShaderModule({ code });
  await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
}
process.exit(0);
`;

/** SPIR-V of shaders, disassembled, each as its lines. */
async function spirvOf(codes: string[]): Promise<string[][]> {
  const env = { ...process.env, ...(await softwareEnvironment(['lavapipe'])) };
  const output = await new Promise<string>((resolve, reject) => {
    const args = ['--input-type=module', '-e', CHILD];
    const child = execFile(process.execPath, args, { env, maxBuffer: 2 ** 28 }, (error, out) =>
      error ? reject(error as Error) : resolve(out),
    );
    child.stdin!.end(JSON.stringify(codes));
  });
  const dumps = output.split('/* Dumped SPIRV disassembly */').slice(1);
  expect(dumps).toHaveLength(codes.length);
  return dumps.map((dump) => dump.split('\n'));
}

/**
 * What emulates matrices; and what brings in tiles that not all lanes share alike, where one comparison among loads is
 * nothing.
 */
const APART = /^%(readWord|writeWord|stageSlice|stageValues)\b/;

/** Indices into workgroup memory that are held to a range. */
function clamped(lines: string[]): { places: number; clamps: string[] } {
  const held = new Set<string>();
  const clamps: string[] = [];
  let [places, name] = [0, ''];
  for (const line of lines) {
    const [, id, op, rest] = /^\s*(?:(%\w+) = )?(Op\w+) ?(.*)$/.exec(line) ?? [];
    if (op === 'OpFunction') name = id;
    if (op === 'OpExtInst' && / [UN]Min /.test(rest)) held.add(id);
    if (op !== 'OpAccessChain' || !rest.startsWith('%_ptr_Workgroup_') || APART.test(name)) continue;
    places++;
    if (rest.split(' ').some((index) => held.has(index))) clamps.push(`${name}: ${line.trim()}`);
  }
  return { places, clamps };
}

const CARD: Capabilities = { ...DEFAULT_CAPABILITIES, f16: true, subgroupSize: 32, matrices: '16x16x16' };

/** The shaders of every way that a card is offered whose name fits. */
function shadersOf(record: (g: Graph) => void, names: RegExp): [string, string][] {
  const g = new Graph('f16');
  record(g);
  let ways: readonly string[] = [];
  const { nodes } = rewriteGraph(g, rewrites);
  lowerNodes(g, nodes, CARD, { onChoice: (place) => (ways = place.ways) });
  return ways
    .filter((way) => names.test(way))
    .map((way) => {
      const [d] = lowerNodes(g, nodes, CARD, { choices: { get: () => way } });
      return [`${d.kernel.name} ${way}`, emulateMatrices(specialise(d.kernel.shader, d.storage, d.tunables))];
    });
}

const rows = (g: Graph, name: string, shape: number[]) => g.input(name, shape, { layout: 'rows', dtype: 'f16' });
// Of matrices, the widest tiles: others leave branches to the driver that are never taken, and reach beyond.
const OPS: Record<string, [(g: Graph) => void, RegExp]> = {
  linear: [(g) => g.output('y', linear(rows(g, 'x', [154, 768]), { key: 'w', shape: [320, 768] })), /^tile|wide/],
  'linear behind a norm': [
    (g) => {
      const n = layerNorm(rows(g, 'x', [154, 770]), { key: 'gamma', shape: [770] }, undefined, { eps: 1e-5 });
      g.output('y', linear(n, { key: 'w', shape: [320, 770] }));
    },
    /(^tile|wide).* folded/,
  ],
  conv2d: [
    (g) =>
      g.output(
        'y',
        conv2d(rows(g, 'x', [1, 13, 17, 36]), { key: 'w', shape: [70, 36, 3, 3] }, undefined, { padding: 1 }),
      ),
    /^tile|wide/,
  ],
  ...Object.fromEntries(
    [40, 64, 72].map((d): [string, [(g: Graph) => void, RegExp]] => [
      `attention of heads of ${d}`,
      [
        (g) => {
          const [q, k, v] = ['q', 'k', 'v'].map((name) => rows(g, name, [2, 1000, 8 * d]));
          g.output('y', attention(q, k, v, { heads: 8 }));
        },
        /^(tile|matrices)/,
      ],
    ]),
  ),
};

describe.runIf(adapters().includes('lavapipe'))('workgroup memory, as the compiler sees it', () => {
  it('is read and written where it is, without a clamp', async () => {
    const shaders = Object.values(OPS).flatMap(([record, names]) => shadersOf(record, names));
    expect(shaders.length).toBeGreaterThan(12);
    const careless =
      'var<workgroup> t: array<f32, 100>; @compute @workgroup_size(64) fn main(' +
      '@builtin(workgroup_id) at: vec3<u32>) { t[at.x] = 1.0; }';
    const [first, ...all] = await spirvOf([careless, ...shaders.map(([, code]) => code)]);
    expect(clamped(first).clamps).toHaveLength(1);
    for (const [i, lines] of all.entries()) {
      const { places, clamps } = clamped(lines);
      expect([shaders[i][0], ...clamps]).toEqual([shaders[i][0]]);
      expect(places).toBeGreaterThan(4);
    }
  });
});
