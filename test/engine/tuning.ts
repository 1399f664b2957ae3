/** What tests of the tuner share: stores, clocks and a graph that leaves a choice. */
import { Device, Graph, type TuneOptions, type TuneStore } from '../../src/engine/index.ts';
import { conv2d } from '../../src/kernels/index.ts';
import { getGpu } from '../support/gpu.ts';

/** A store in memory that counts. */
export function memory(text?: string): TuneStore & { text?: string; reads: number; writes: number } {
  return {
    text,
    reads: 0,
    writes: 0,
    async read() {
      this.reads++;
      return this.text;
    },
    async write(_, written) {
      this.writes++;
      this.text = written;
    },
  };
}

/** A map that several ways can convolve. */
export function record(channels = 16, size = 8): Graph {
  const g = new Graph();
  const x = g.input('x', [1, size, size, channels], { layout: 'rows' });
  const w = { key: `w${channels}`, shape: [channels, channels, 3, 3] };
  g.output('y', conv2d(conv2d(x, w, undefined, { padding: 1 }), w, undefined, { padding: 1 }));
  return g;
}

/** A clock that says the later ways are faster, or those named. */
export function clock(fast?: string): TuneOptions['time'] & { calls: string[][] } {
  const calls: string[][] = [];
  const time: TuneOptions['time'] = async (_, ways) => {
    calls.push([...ways.keys()]);
    return Object.fromEntries([...ways.keys()].map((way, i) => [way, way === fast ? 0.1 : 100 - i]));
  };
  return Object.assign(time, { calls });
}

export const open = async (tune: TuneOptions, without: GPUFeatureName[] = []) =>
  Device.open({ gpu: await getGpu('null'), without, tune });
