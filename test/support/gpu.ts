import { openGpu } from '../../src/node/adapter.ts';

/** Adapters that the GPU tests run on: `DAGUERRE_ADAPTERS`, a comma-separated list of {@link openGpu} names. */
export function adapters(): string[] {
  const names = process.env.DAGUERRE_ADAPTERS ?? 'swiftshader,lavapipe';
  return names
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);
}

/** Whether the full product of cases is wanted (`npm run test:full`) rather than the seeded choice of `npm test`. */
export const isFullRun = (process.env.DAGUERRE_FULL ?? '') !== '' && process.env.DAGUERRE_FULL !== '0';

/**
 * WebGPU on the named adapter, one instance per process. A missing adapter is a failure, never a skip.
 * @throws AdapterError with the command that puts the adapter in place.
 */
export async function getGpu(name: string): Promise<GPU> {
  return (await openGpu({ adapter: name })).gpu;
}
