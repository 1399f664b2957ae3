/**
 * Measurements that come with the library (tuned.json), for adapters that someone has measured: where a way other than
 * the usual one was clearly faster. They are told apart by what an adapter reports and kernels see, never by a
 * product's name.
 */
import type { Device } from './device.ts';
import type { MatrixForm } from './subgroupMatrices.ts';

/** What an adapter must report for its measurements to count. */
export interface AdapterTraits {
  vendor: string;
  architecture: string;
  /** Lanes of a subgroup; 0 where it varies or is not known. */
  subgroupSize: number;
  f16: boolean;
  matrices: MatrixForm | false;
  software: boolean;
}

/** The fastest way of a class of shapes, and the version of the kernels that it was measured with. */
export interface ShippedEntry {
  way: string;
  version: string;
}

/** The measurements of one adapter. */
export interface ShippedAdapter {
  /** For people: which device it was, the commit, the day. */
  about: string;
  match: AdapterTraits;
  /** By class of shapes. */
  entries: Readonly<Record<string, ShippedEntry>>;
}

/** What a device shows of itself. */
export function traitsOf({ info, caps }: Pick<Device, 'info' | 'caps'>): AdapterTraits {
  const { subgroupSize, f16, matrices = false, software } = caps;
  return { vendor: info.vendor, architecture: info.architecture, subgroupSize, f16, matrices, software };
}

/** Whether measurements of one adapter count for another. */
export function sameTraits(a: AdapterTraits, b: AdapterTraits): boolean {
  return (Object.keys(a) as (keyof AdapterTraits)[]).every((trait) => a[trait] === b[trait]);
}

/** All that is shipped; loaded when a graph is first compiled, so that a page need not wait for it. */
export async function shippedTuning(): Promise<readonly ShippedAdapter[]> {
  const { default: adapters } = (await import('./tuned.json')) as unknown as { default: readonly ShippedAdapter[] };
  return adapters;
}
