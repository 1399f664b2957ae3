/**
 * Networks in the folders of their authors: one `config.json`, with the arguments of a class or the sections or flags
 * of the authors' scripts, and its weights under their original keys. What such a config is of.
 */
import { configClass, type RawConfig } from '../../loading/index.ts';
import { EDM_CLASSES } from '../../models/edm/edmConfig.ts';
import { NCSNV2_CLASSES, type Ncsnv2Class } from '../../models/scoreSde/ncsnv2Config.ts';

/** Whose sampling code a network belongs to. */
export type OriginalFamily = 'edm' | 'scoreSde' | 'ncsnv2' | 'consistency' | 'adm';

/** What a config is of. */
export interface OriginalKind {
  family: OriginalFamily;
  /** As the network's reader knows it; a config that names none gets it. */
  className: string;
}

/** Fields that consistency_models has and guided-diffusion has not. */
const CONSISTENCY_FIELDS = ['training_mode', 'distillation', 'attention_type', 'weight_schedule', 'sigma_data'];

/** What a config is of, by its class or by the fields that only one family has; undefined for anything else. */
export function originalKind(config: RawConfig): OriginalKind | undefined {
  const named = configClass(config);
  return named === undefined ? byFields(config) : byClass(config, named);
}

/** A config that names its class. @see originalKind */
export function withClass(config: RawConfig): RawConfig {
  const className = configClass(config) ?? originalKind(config)?.className;
  return className === undefined ? config : { ...config, _class_name: className };
}

function byClass(config: RawConfig, className: string): OriginalKind | undefined {
  if (className === 'NCSNpp') return { family: 'scoreSde', className };
  if (NCSNV2_CLASSES.some((name) => name === className)) return { family: 'ncsnv2', className };
  if (EDM_CLASSES.some((name) => name === className)) return { family: 'edm', className };
  if (className === 'SuperResModel') return { family: 'adm', className };
  return className === 'UNetModel' ? unetModel(config) : undefined;
}

/** Sections of score_sde and NCSNv2, or the flags of OpenAI's scripts. */
function byFields(config: RawConfig): OriginalKind | undefined {
  const { model, data } = config as Record<string, Record<string, unknown> | undefined>;
  if (typeof model === 'object' && typeof data === 'object' && model && data) {
    if ('nf' in model) return { family: 'scoreSde', className: 'NCSNpp' };
    if ('ngf' in model) return { family: 'ncsnv2', className: ncsnv2Class(data.dataset) };
    return undefined;
  }
  if (!('num_channels' in config && 'num_res_blocks' in config)) return undefined;
  return 'large_size' in config ? { family: 'adm', className: 'SuperResModel' } : unetModel(config);
}

function unetModel(config: RawConfig): OriginalKind {
  const family = CONSISTENCY_FIELDS.some((field) => field in config) ? 'consistency' : 'adm';
  return { family, className: 'UNetModel' };
}

/** The authors' runner chooses the network by the name of the data. */
function ncsnv2Class(dataset: unknown): Ncsnv2Class {
  if (dataset === 'FFHQ') return 'NCSNv2Deepest';
  return dataset === 'LSUN' ? 'NCSNv2Deeper' : 'NCSNv2';
}
