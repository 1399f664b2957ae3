/** The bench in Node, on Dawn. */
import { openGpu } from '../src/node/adapter.ts';
import type { CoreReport } from './run.ts';
import { runCases } from './run.ts';
import { pathDirectory } from '../src/node/fileSource.ts';
import type { Selection } from './select.ts';

export interface RunContext {
  /** The folder `weights` of this package, on disk. */
  weights: string;
  adapter: string;
  signal?: AbortSignal;
  note?(line: string): void;
}

/** @throws AdapterError, AbortedError */
export async function runInNode(
  selection: Selection,
  { weights, adapter, signal, note }: RunContext,
): Promise<CoreReport> {
  // First runs are compared: Mesa would otherwise take what it compiled on an earlier day from its disk cache.
  process.env.MESA_SHADER_CACHE_DISABLE ??= 'true';
  const { gpu } = await openGpu({ adapter });
  return runCases(selection, { gpu, weights: pathDirectory(weights), signal, note });
}
