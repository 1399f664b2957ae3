/** Which pipeline runs a network in its authors' folder. */
import type { Device } from '../../engine/index.ts';
import type { RawConfig } from '../../loading/index.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import type { LoadedPipeline } from '../pipeline.ts';
import { originalKind, type OriginalFamily } from './kinds.ts';
import type { OriginalSource } from './openOriginal.ts';

/** A class of pipelines of one network. */
export interface OriginalPipelineClass {
  load(device: Device, source: OriginalSource, options: LoadPipelineOptions): Promise<LoadedPipeline>;
}

/** The pipeline of each family; a chunk of its own. */
const PIPELINES: Readonly<Record<OriginalFamily, () => Promise<OriginalPipelineClass>>> = {
  edm: async () => (await import('./edm.ts')).EDMPipeline,
  scoreSde: async () => (await import('./scoreSde.ts')).ScoreSDEPipeline,
  ncsnv2: async () => (await import('./ncsnv2.ts')).NCSNv2Pipeline,
  consistency: async () => (await import('./consistency.ts')).ConsistencyPipeline,
  adm: async () => (await import('./admNetwork.ts')).AdmNetworkPipeline,
};

/** The pipeline of a network's config; undefined where it is none of theirs. */
export async function originalPipeline(config: RawConfig): Promise<OriginalPipelineClass | undefined> {
  const kind = originalKind(config);
  return kind && PIPELINES[kind.family]();
}
