/** What an adapter offers, as a report lists it: kernels differ by it, and so do times. */

import { matrixConfigs, type MatrixConfig } from '../src/engine/subgroupMatrices.ts';

export interface Offers {
  /** All that WebGPU names, whether used or not. */
  features: string[];
  /** Least and largest width of a subgroup; null where it is not told. */
  subgroupSizes: [number, number] | null;
  matrixConfigs: MatrixConfig[];
}

/** The features that kernels have forms for, by short names. */
const USED: Readonly<Record<string, string>> = {
  'shader-f16': 'f16',
  subgroups: 'subgroups',
  'timestamp-query': 'timestamps',
  'chromium-experimental-subgroup-matrix': 'subgroup matrices',
};

/** Of what the adapter reports; older implementations report less. */
export function offersOf({ features, info }: { features: Iterable<string>; info: GPUAdapterInfo }): Offers {
  const { subgroupMinSize: min, subgroupMaxSize: max } = info;
  return {
    features: [...features].sort(),
    subgroupSizes: min && max ? [min, max] : null,
    matrixConfigs: matrixConfigs(info),
  };
}

/** A sentence or two for people. */
export function describeOffers({ features, subgroupSizes, matrixConfigs: configs }: Partial<Offers>): string {
  if (!features) return '';
  const lanes = subgroupSizes ? ` of ${[...new Set(subgroupSizes)].join('–')}` : '';
  const used = Object.entries(USED)
    .filter(([name]) => features.includes(name))
    .map(([name, short]) => (name === 'subgroups' ? `${short}${lanes}` : short));
  const sizes = (configs ?? []).map(
    ({ componentType: from, resultComponentType: to, M, N, K }) => `${from} → ${to} ${M}×${N}×${K}`,
  );
  return `Features: ${used.join(', ') || 'none that is used'}. Subgroup matrices: ${sizes.join(', ') || 'none'}.`;
}
