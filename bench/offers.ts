/** What an adapter offers, as a report lists it: kernels differ by it, and so do times. */

/** A size of matrices that subgroups multiply: M×K by K×N, and the types of what is multiplied and of the sums. */
export interface MatrixConfig {
  componentType: string;
  resultComponentType: string;
  M: number;
  N: number;
  K: number;
}

export interface Offers {
  /** All that WebGPU names, whether used or not. */
  features: string[];
  /** Least and largest width of a subgroup; null where it is not told. */
  subgroupSizes: [number, number] | null;
  matrixConfigs: MatrixConfig[];
}

type Info = GPUAdapterInfo & { subgroupMatrixConfigs?: Iterable<MatrixConfig> };

/** The features that kernels have forms for, by short names. */
const USED: Readonly<Record<string, string>> = {
  'shader-f16': 'f16',
  subgroups: 'subgroups',
  'timestamp-query': 'timestamps',
  'chromium-experimental-subgroup-matrix': 'subgroup matrices',
};

/** Of what the adapter reports; older implementations report less. */
export function offersOf({ features, info }: { features: Iterable<string>; info: GPUAdapterInfo }): Offers {
  const { subgroupMinSize: min, subgroupMaxSize: max, subgroupMatrixConfigs: configs = [] } = info as Info;
  return {
    features: [...features].sort(),
    subgroupSizes: min && max ? [min, max] : null,
    matrixConfigs: [...configs].map(({ componentType, resultComponentType, M, N, K }) => {
      return { componentType, resultComponentType, M, N, K };
    }),
  };
}

/** A sentence or two for people. */
export function describeOffers({ features, subgroupSizes, matrixConfigs }: Partial<Offers>): string {
  if (!features) return '';
  const lanes = subgroupSizes ? ` of ${[...new Set(subgroupSizes)].join('–')}` : '';
  const used = Object.entries(USED)
    .filter(([name]) => features.includes(name))
    .map(([name, short]) => (name === 'subgroups' ? `${short}${lanes}` : short));
  const sizes = (matrixConfigs ?? []).map(
    ({ componentType: from, resultComponentType: to, M, N, K }) => `${from} → ${to} ${M}×${N}×${K}`,
  );
  return `Features: ${used.join(', ') || 'none that is used'}. Subgroup matrices: ${sizes.join(', ') || 'none'}.`;
}
