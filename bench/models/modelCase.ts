import { DEFAULT_CAPABILITIES, prepare, type Device, type Graph } from '../../src/engine/index.ts';
import { rewrites } from '../../src/kernels/index.ts';
import type { BenchCase, Subject } from '../case.ts';
import { ProgramSubject, type ProgramWork } from '../programSubject.ts';

export interface ModelCase {
  group: string;
  /** Behind the group's name and a slash. */
  id: string;
  dtype: 'f32' | 'f16';
  /** Its arithmetic is counted, as the ops count it; undefined for a whole pipeline. */
  graph?: Graph;
  quick?: boolean;
  peerWork?: BenchCase['peerWork'];
}

/** A single network, which every suite may compile in its own way. */
export interface NetworkCase extends ModelCase {
  graph: Graph;
  /** Brings weights and inputs to memory. */
  work(device: Device): Promise<ProgramWork>;
}

/** Arithmetic is counted also of what this adapter could not run. */
const BOUNDLESS = {
  ...DEFAULT_CAPABILITIES,
  limits: { ...DEFAULT_CAPABILITIES.limits, maxBufferSize: 2 ** 50, maxStorageBufferBindingSize: 2 ** 50 },
};

/** A case of the model suite. */
export function modelCase(
  { group, id, dtype, graph, quick, peerWork }: ModelCase,
  open: (device: Device) => Promise<Subject>,
): BenchCase {
  const flops = graph ? prepare(graph, BOUNDLESS, { rewrites }).report.flops : 0;
  return { suite: 'models', group, name: `${group}/${id}`, dtype, flops, bytes: 0, quick, peerWork, open };
}

/** The same of a network. */
export function networkCase(network: NetworkCase): BenchCase {
  return modelCase(network, async (device) => new ProgramSubject(device, await network.work(device)));
}
