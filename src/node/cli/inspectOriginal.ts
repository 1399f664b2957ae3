/**
 * Networks in their authors' layout for `daguerre inspect`: whose they are, and their config as the network reads it.
 */
import { configClass, type Checkpoint, type Directory, type RawConfig } from '../../loading/index.ts';
import { readAdmFlags, type AdmRole } from '../../models/adm/admFlags.ts';
import { kindByKeys } from '../../pipelines/original/byKeys.ts';
import { readConsistencySetup } from '../../pipelines/original/consistencyConfig.ts';
import { originalKind, type OriginalFamily, type OriginalKind } from '../../pipelines/original/kinds.ts';
import { openOriginal, withoutLabels } from '../../pipelines/original/openOriginal.ts';

/** Whose code a network is of, in words. */
const TITLES: Readonly<Record<OriginalFamily, string>> = {
  edm: 'EDM (Karras et al. 2022, NVlabs/edm)',
  scoreSde: 'score_sde (Song et al. 2021): NCSN++ or DDPM++',
  ncsnv2: 'NCSNv2 (Song & Ermon 2020)',
  consistency: 'consistency_models (Song et al. 2023)',
  adm: 'guided-diffusion (Dhariwal & Nichol 2021)',
};

/** What is read of a folder. */
export interface OriginalPart {
  title: string;
  className: string;
  /** What the network's own reader takes. */
  config: RawConfig;
  checkpoint: Checkpoint;
  /** How much larger than the pictures of the network before it, along each side; of a second stage. */
  factor: number;
}

const ROLES: Readonly<Record<string, AdmRole | undefined>> = {
  unet: 'unet',
  classifier: 'classifier',
  upsampler: 'upsampler',
};

/**
 * Opens a folder, or the part of that name of a guided-diffusion folder; undefined where it is none of theirs.
 * @throws ConfigError for a config that is not understood; as {@link openOriginal}
 */
export async function openOriginalPart(
  raw: RawConfig,
  directory: Directory,
  { name, inAdm }: { name: string; inAdm: boolean },
): Promise<OriginalPart | undefined> {
  const role = inAdm ? ROLES[name] : undefined;
  const kind = role ? ({ family: 'adm', className: 'UNetModel' } as const) : originalKind(raw);
  if (!kind) return undefined;
  const { config } = withoutLabels(raw);
  const does = role ?? (kind.className === 'SuperResModel' ? 'upsampler' : 'unet');
  const own = networkConfig(config, kind, does);
  const { checkpoint } = await openOriginal(directory);
  const title = described(kind, config);
  const factor = role === 'upsampler' ? enlargement(config, own) : 1;
  return { title, className: configClass(own) ?? kind.className, config: own, checkpoint, factor };
}

/** By the flags; the scripts' own networks make 256 of 64. */
function enlargement(config: RawConfig, { image_size: large }: RawConfig): number {
  const { smallSize } = readAdmFlags(config, 'upsampler', 'upsampler');
  return typeof large === 'number' && smallSize ? large / smallSize : 4;
}

/** Whose network a file without a config is, by its keys; undefined where it is none of theirs. */
export function titleByKeys(checkpoint: Checkpoint): { title: string; className: string } | undefined {
  const kind = kindByKeys(checkpoint);
  return kind && { title: TITLES[kind.family], className: kind.className };
}

function networkConfig(config: RawConfig, { family, className }: OriginalKind, role: AdmRole): RawConfig {
  if (family === 'adm') return readAdmFlags(config, role, className).network;
  if (family === 'consistency') return readConsistencySetup(config, className).network;
  return { ...config, _class_name: className };
}

/** With what a config alone says: the way of training, or the process. */
function described({ family }: OriginalKind, config: RawConfig): string {
  const { training_mode: mode, training } = config as { training_mode?: unknown; training?: { sde?: unknown } };
  const more = family === 'consistency' ? mode : family === 'scoreSde' ? training?.sde : undefined;
  return typeof more === 'string' ? `${TITLES[family]}, ${more}` : TITLES[family];
}
