/**
 * Stable Diffusion 1.5's U-Net at its full size: 859,520,964 weights stored as halves, on an adapter with the default
 * limits, against PyTorch (test/fixtures/sd15_full/record.py). The file is never there: its bytes are made when read.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { DEFAULT_LIMITS, numel, toHalf } from '../../../src/engine/index.ts';
import { Checkpoint, type ByteSource, type RawConfig } from '../../../src/loading/index.ts';
import { readUNetConditionConfig } from '../../../src/models/unetCondition/unetConditionConfig.ts';
import { UNet2DCondition, unet2dConditionWeights } from '../../../src/models/unetCondition/unetConditionModel.ts';
import { expectClose, NETWORK_RANGE } from '../../support/close.ts';
import { adapters, isFullRun } from '../../support/gpu.ts';
import { openDevice } from '../../support/runGraph.ts';
import { fixture } from '../fixtures.ts';

const config = JSON.parse(readFileSync(new URL('../configs/sd15-unet.json', import.meta.url), 'utf8')) as RawConfig;

/** Multiples of 2⁻¹⁵ in −1 … 1: a hash of the name and the position. */
function uniform(name: string): (i: number) => number {
  let seed = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) seed = Math.imul(seed ^ byte, 0x01000193);
  return (i) => {
    let x = (Math.imul(i, 0x9e3779b9) + seed) | 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return ((x ^ (x >>> 16)) >>> 16) / 32768 - 1;
  };
}

/** A weight as the bits of a half. */
function halfOf(name: string, shape: readonly number[]): (i: number) => number {
  const u = uniform(name);
  if (shape.length === 1) {
    const mean = name.endsWith('.weight') ? 1 : 0;
    return (i) => toHalf(Float32Array.of(0.125 * u(i) + mean))[0];
  }
  const scale = 2 ** Math.round(Math.log2(Math.sqrt(3 / numel(shape.slice(1)))));
  // 65,536 different values: the halves of all of them once.
  const halves = toHalf(Float32Array.from({ length: 65536 }, (_, n) => (n / 32768 - 1) * scale));
  return (i) => halves[(u(i) + 1) * 32768];
}

/** A safetensors file of halves whose bytes are computed. */
function computedFile(wanted: ReadonlyMap<string, readonly number[]>): ByteSource {
  const header: Record<string, object> = {};
  const parts: { at: number; end: number; value: (i: number) => number }[] = [];
  let at = 0;
  for (const [name, shape] of wanted) {
    const end = at + 2 * numel(shape);
    header[name] = { dtype: 'F16', shape, data_offsets: [at, end] };
    parts.push({ at, end, value: halfOf(name, shape) });
    at = end;
  }
  const text = JSON.stringify(header);
  const json = new TextEncoder().encode(text.padEnd(8 * Math.ceil(text.length / 8)));
  const head = new Uint8Array(8 + json.length);
  new DataView(head.buffer).setBigUint64(0, BigInt(json.length), true);
  head.set(json, 8);
  return {
    name: 'computed.safetensors',
    size: () => Promise.resolve(head.length + at),
    read(start, end) {
      if (end <= head.length) return Promise.resolve(head.slice(start, end));
      const out = new Uint8Array(end - start);
      if (start < head.length) out.set(head.subarray(start));
      const base = Math.max(0, head.length - start);
      const from = Math.max(0, start - head.length);
      // Tensors are read whole numbers of halves at a time.
      const halves = new DataView(out.buffer);
      for (const part of parts) {
        const last = Math.min(part.end, end - head.length);
        for (let byte = Math.max(part.at, from); byte < last; byte += 2) {
          halves.setUint16(base + byte - from, part.value((byte - part.at) / 2), true);
        }
      }
      return Promise.resolve(out);
    },
  };
}

// The adapter whose limits are exactly the default ones.
const ADAPTER = 'lavapipe';

test.runIf(isFullRun && adapters().includes(ADAPTER))(
  "Stable Diffusion 1.5's U-Net agrees with PyTorch at 8×8 latents",
  { timeout: 900_000 },
  async () => {
    const device = await openDevice(ADAPTER);
    const { maxStorageBufferBindingSize } = device.caps.limits;
    expect(maxStorageBufferBindingSize).toBe(DEFAULT_LIMITS.maxStorageBufferBindingSize);
    const source = computedFile(unet2dConditionWeights(readUNetConditionConfig(config)));
    const model = await UNet2DCondition.load(device, { config, checkpoint: await Checkpoint.open(source) });
    const filled = (name: string, shape: readonly number[]) => {
      const u = uniform(name);
      return { shape, data: Float32Array.from({ length: numel(shape) }, (_, i) => 2 * u(i)) };
    };
    const out = await model.forward({
      sample: filled('sample', [1, 4, 8, 8]),
      timestep: 500,
      encoderHiddenStates: filled('encoder_hidden_states', [1, 77, 768]),
    });
    const recorded = await Checkpoint.open(await fixture('sd15_full').open('io.safetensors'));
    const want = await recorded.read('out.out');
    const range = Math.max(...want) - Math.min(...want);
    const worst = expectClose(await out.read(), want, NETWORK_RANGE * range, 'output');
    console.log(`worst ${worst / range} of the output's range`);
    await recorded.close();
    model.dispose();
  },
);
