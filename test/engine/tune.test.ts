import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  Device,
  Graph,
  InvalidArgumentError,
  OutOfMemoryError,
  prepare,
  Program,
  Tuner,
  type Capabilities,
  type Op,
  type TuneOptions,
  type TuneStore,
} from '../../src/engine/index.ts';
import { parseTuning } from '../../src/engine/tuneStore.ts';
import { add, conv2d } from '../../src/kernels/index.ts';
import { fileTuneStore } from '../../src/node/tuneCache.ts';
import { getGpu } from '../support/gpu.ts';
import { clock, memory, open, record } from './tuning.ts';

/** Getters of the driver's object as a copy can take them. */
const described = ({ vendor, architecture, device, description }: GPUAdapterInfo) => ({
  vendor,
  architecture,
  device,
  description,
});

/** What a graph dispatches once it is settled. */
async function kernelsOf(device: Device, g: Graph): Promise<string[]> {
  const choices = await device.tuner.settle(g);
  return prepare(g, device.caps, { choices }).dispatches.map((d) => d.kernel.name);
}

describe('the tuner', () => {
  it('takes the usual way when off, and asks neither clock nor store', async () => {
    const store = memory();
    const time = clock();
    const device = await open({ mode: 'off', store, time });
    expect((await device.tuner.settle(record())).get('anything')).toBeUndefined();
    expect(time.calls).toEqual([]);
    expect(store.reads).toBe(0);
    device.dispose();
  });

  it('measures each class of shapes once, and chooses the fastest', async () => {
    const store = memory();
    const time = clock('winograd2 0');
    const device = await open({ mode: 'full', store, time });
    const choices = await device.tuner.settle(record());
    expect(time.calls).toHaveLength(1);
    expect(time.calls[0]).toContain('winograd2 0');
    const [key] = [...parseTuning(store.text!).keys()];
    expect(choices.get(key)).toBe('winograd2 0');
    await device.tuner.settle(record());
    expect(time.calls).toHaveLength(1);
    await device.tuner.settle(record(64));
    expect(time.calls).toHaveLength(2);
    expect(device.tuner.report).toMatchObject({ measured: 2, problems: [] });
    device.dispose();
  });

  it('is decided by its cache alone: another session, another clock, the same choices', async () => {
    const store = memory();
    const first = await open({ mode: 'full', store, time: clock('winograd4 0') });
    const kernels = await first.tuner.settle(record());
    const [key] = [...parseTuning(store.text!).keys()];
    for (const mode of ['cached', 'full'] as const) {
      const time = clock('plain');
      const second = await open({ mode, store, time });
      expect((await second.tuner.settle(record())).get(key)).toBe(kernels.get(key));
      expect(time.calls).toEqual([]);
      expect(second.tuner.report).toMatchObject({ cached: 1, measured: 0 });
      second.dispose();
    }
    expect(store.writes).toBe(1);
    first.dispose();
  });

  it('keeps the usual way unless another is clearly faster', async () => {
    const store = memory();
    const time: TuneOptions['time'] = async (_, ways) =>
      Object.fromEntries([...ways.keys()].map((way) => [way, way === usual ? 1 : 0.99]));
    let usual = '';
    const g = record();
    const device = await open({ mode: 'full', store, time });
    const op = g.nodes[0].op as Op;
    op.lower(g.nodes[0], {
      graph: g,
      caps: device.caps,
      choose: (_s: string, _w: object, u: string) => void (usual = u),
    } as never);
    const choices = await device.tuner.settle(g);
    const [[key, entry]] = [...parseTuning(store.text!)];
    expect(entry.way).toBe(usual);
    expect(choices.get(key)).toBe(usual);
    device.dispose();
  });

  it('stays within its budget, and measures the rest next time', async () => {
    const store = memory();
    let now = 0;
    const slow: TuneOptions['time'] = async (_, ways, left) => {
      now += 30;
      return left() > 0 ? Object.fromEntries([...ways.keys()].map((way) => [way, 1])) : undefined;
    };
    const tune: TuneOptions = { mode: 'full', store, budgetMs: 45, time: slow, now: () => now };
    const device = await open(tune);
    const g = record(16);
    const x = g.input('z', [1, 8, 8, 64], { layout: 'rows' });
    g.output('u', conv2d(x, { key: 'v', shape: [128, 64, 3, 3] }, undefined, { padding: 1 }));
    g.output('t', conv2d(x, { key: 'o', shape: [512, 64, 3, 3] }, undefined, { padding: 1 }));
    await device.tuner.settle(g);
    const { measured, usual } = device.tuner.report;
    expect(measured).toBe(1);
    expect(usual).toBe(2);
    // The one with the most work came first.
    expect([...parseTuning(store.text!).keys()][0]).toMatch(/512/);
    await device.tuner.settle(g);
    expect(device.tuner.report.measured).toBe(2);
    await device.tuner.settle(g);
    await device.tuner.settle(g);
    expect(device.tuner.report).toMatchObject({ measured: 3, spentMs: now });
    device.dispose();
  });

  it('keeps nothing of a place of which no way could be timed', async () => {
    const store = memory();
    const device = await open({ mode: 'full', store, time: async () => ({}) });
    expect(await kernelsOf(device, record())).toEqual(await kernelsOf(await open({ mode: 'off' }), record()));
    expect(device.tuner.report).toMatchObject({ measured: 0, problems: [] });
    expect(store.writes).toBe(0);
    device.dispose();
  });

  it('keeps measurements of other adapters and other features apart', async () => {
    const device = await open({ mode: 'off' });
    const asked: string[] = [];
    const store: TuneStore = { ...memory(), read: async (name) => void asked.push(name) };
    const settle = (info: Partial<GPUAdapterInfo>, caps: Partial<Capabilities>) => {
      const other = { info: { ...described(device.info), ...info }, caps: { ...device.caps, ...caps } };
      return new Tuner(Object.assign(Object.create(device) as Device, other), { mode: 'cached', store }).settle(
        record(),
      );
    };
    const { f16, timestamps, software, limits } = device.caps;
    await settle({}, {});
    await settle({}, { matrices: undefined });
    await settle({ vendor: 'another' }, {});
    await settle({ device: 'another' }, {});
    await settle({}, { f16: !f16 });
    await settle({}, { subgroupSize: 64 });
    await settle({}, { matrices: '16x16x16' });
    await settle({}, { timestamps: !timestamps });
    await settle({}, { software: !software });
    await settle({}, { limits: { ...limits, maxComputeWorkgroupStorageSize: 32768 } });
    expect(asked).toHaveLength(10);
    expect(asked[1]).toBe(asked[0]);
    expect(new Set(asked).size).toBe(9);
    device.dispose();
  });

  it('ignores a cache that is damaged, with a report, and repairs it', async () => {
    for (const text of ['{', '{"format":7,"entries":{}}', '{"format":1,"entries":{"a":{"way":3}}}', '[]']) {
      const store = memory(text);
      const device = await open({ mode: 'full', store, time: clock('winograd2 0') });
      await device.tuner.settle(record());
      expect(device.tuner.report).toMatchObject({ measured: 1, cached: 0 });
      expect(device.tuner.report.problems[0]).toMatch(/^tune: what was measured earlier is ignored: tuning: expected/);
      expect(parseTuning(store.text!).size).toBe(1);
      device.dispose();
    }
  });

  it('goes on without a store that fails', async () => {
    const store: TuneStore = {
      read: () => Promise.reject(new Error('locked')),
      write: () => Promise.reject(new Error('full')),
    };
    const device = await open({ mode: 'full', store, time: clock() });
    await device.tuner.settle(record());
    expect(device.tuner.report.problems).toEqual([
      'tune: what was measured earlier is ignored: locked',
      'tune: measurements could not be kept: full',
    ]);
    device.dispose();
  });

  it('measures again what another version of the kernels was measured with', async () => {
    const store = memory();
    const first = await open({ mode: 'full', store, time: clock('winograd2 0') });
    await first.tuner.settle(record());
    const document = JSON.parse(store.text!) as { entries: Record<string, { version: string; way: string }> };
    const [key] = Object.keys(document.entries);
    document.entries[key].version = 'older';
    store.text = JSON.stringify(document);
    const cached = await open({ mode: 'cached', store });
    expect((await cached.tuner.settle(record())).get(key)).toBeUndefined();
    const time = clock('plain');
    const again = await open({ mode: 'full', store, time });
    expect((await again.tuner.settle(record())).get(key)).toBe('plain');
    expect(time.calls).toHaveLength(1);
    for (const device of [first, cached, again]) device.dispose();
  });

  it('keeps what is chosen out of graphs that offer nothing', async () => {
    const device = await open({ mode: 'full', time: clock() });
    const g = new Graph();
    const x = g.input('x', [4, 4], { layout: 'rows' });
    g.output('y', add(x, x));
    await device.tuner.settle(g);
    expect(device.tuner.report.measured).toBe(0);
    expect(await kernelsOf(device, g)).toEqual(['elementwise']);
    device.dispose();
  });

  it('times ways on the device, and a program follows what was found', async () => {
    const store = memory();
    const tune: TuneOptions = { mode: 'full', budgetMs: 100_000, store, shipped: false };
    const device = await Device.open({ gpu: await getGpu('swiftshader'), tune });
    const kernels = await kernelsOf(device, record(8));
    expect(device.tuner.report).toMatchObject({ measured: 1, usual: 0, problems: [] });
    expect(device.held).toEqual({ bytes: 0, buffers: 0 });
    const [[, { way, times }]] = [...parseTuning(store.text!)];
    expect(Object.values(times).every((ms) => ms > 0)).toBe(true);
    expect(kernels).toHaveLength(way.startsWith('winograd') ? 6 : 2);
    device.dispose();
  });

  it('does without ways for which there is no memory', async () => {
    const device = await open({ mode: 'full', shipped: false, budgetMs: 100_000 });
    vi.spyOn(Program, 'ofDispatches').mockRejectedValue(new OutOfMemoryError('compile: out of memory'));
    try {
      await device.tuner.settle(record());
      expect(device.tuner.report).toMatchObject({ measured: 0, usual: 1 });
    } finally {
      vi.restoreAllMocks();
      device.dispose();
    }
  });
});

describe('a mode by itself', () => {
  it.each(['off', 'cached', 'full'] as const)('is taken for its options: %s', async (mode) => {
    const device = await Device.open({ gpu: await getGpu('null'), tune: mode });
    expect(device.tuner.mode).toBe(mode);
    device.dispose();
  });

  it('is refused where there is none such, before a device is asked for', async () => {
    for (const tune of ['fast', { mode: 'fast' }] as never[]) {
      await expect(Device.open({ gpu: undefined, tune })).rejects.toThrow(InvalidArgumentError);
    }
  });
});

describe('measurements in files', () => {
  let folder: string;
  beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), 'daguerre-tune-'))));
  afterEach(() => rm(folder, { recursive: true }));

  it('come back, whole, and are none where nothing was written', async () => {
    const store = fileTuneStore(join(folder, 'a', 'b'));
    expect(await store.read('x')).toBeUndefined();
    await store.write('x', 'one');
    await store.write('x', 'two');
    expect(await store.read('x')).toBe('two');
    expect(await readdir(join(folder, 'a', 'b'))).toEqual(['x.json']);
    expect(await readFile(join(folder, 'a', 'b', 'x.json'), 'utf8')).toBe('two');
  });

  it('say what is wrong when they cannot be read', async () => {
    await writeFile(join(folder, 'file'), '');
    await expect(fileTuneStore(join(folder, 'file')).read('x')).rejects.toThrow();
  });
});
