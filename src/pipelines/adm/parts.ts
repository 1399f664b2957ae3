/** The networks of a folder in guided-diffusion's layout, with what their configs say of the process. */
import { ConfigError, NotFoundError, type Device } from '../../engine/index.ts';
import { openWeights, readConfig, readModelIndex, type Directory, type RawConfig } from '../../loading/index.ts';
import { readAdmFlags, type AdmFlags, type AdmRole } from '../../models/adm/admFlags.ts';
import { AdmUNet } from '../../models/adm/admModel.ts';
import { AdmClassifier } from '../../models/classifier/classifierModel.ts';
import type { LoadOptions, OpenedModel } from '../../models/modelSource.ts';
import type { Owner } from '../run/basePipeline.ts';

/** A network and its config's other fields. */
export interface AdmPart<Network> {
  network: Network;
  flags: AdmFlags;
}

/** What a pipeline consists of: a first stage, an enlarging one, or both. */
export interface AdmParts {
  unet?: AdmPart<AdmUNet>;
  classifier?: AdmPart<AdmClassifier>;
  upsampler?: AdmPart<AdmUNet>;
}

/** A component's folder, or its config (flags, or the constructor's arguments) and weights opened already. */
export type AdmSource = Directory | OpenedModel;

/** The components by role. */
export interface AdmSources {
  unet?: AdmSource;
  classifier?: AdmSource;
  upsampler?: AdmSource;
}

const ROLES: readonly AdmRole[] = ['unet', 'classifier', 'upsampler'];

/** The components that a folder's `model_index.json` names. @throws NotFoundError, FormatError, ConfigError */
export async function admFolder(
  directory: Directory,
  className: string,
  signal?: AbortSignal,
): Promise<{ sources: AdmSources; options: RawConfig }> {
  const { components, options } = await readModelIndex(directory, className, signal);
  const sources: AdmSources = {};
  for (const role of ROLES) if (components.get(role)?.className) sources[role] = directory.folder(role);
  return { sources, options };
}

/**
 * Loads what is there.
 * @throws NotFoundError where there is neither a U-Net nor an upsampler; ConfigError for a part that does not belong;
 * as {@link AdmUNet.load}
 */
export async function loadAdmParts(
  device: Device,
  { unet, classifier, upsampler }: AdmSources,
  options: LoadOptions,
  own: Owner,
): Promise<AdmParts> {
  if (!unet && !upsampler) {
    throw new NotFoundError('ADMPipeline: expected a unet, an upsampler, or both, got neither; check model_index.json');
  }
  if (classifier && !unet) {
    throw new ConfigError('ADMPipeline: expected a unet for the classifier to guide, got an upsampler alone', 'unet');
  }
  const parts: AdmParts = {};
  const open = async <N>(source: AdmSource, role: AdmRole, load: (model: OpenedModel) => Promise<N>) => {
    const { opened, flags, close } = await openPart(source, role, options);
    try {
      return { network: await load(opened), flags };
    } finally {
      await close();
    }
  };
  const network = (model: OpenedModel) => own(AdmUNet.load(device, model, options));
  const judge = (model: OpenedModel) => own(AdmClassifier.load(device, model, options));
  if (unet) parts.unet = await open(unet, 'unet', network);
  if (classifier) parts.classifier = await open(classifier, 'classifier', judge);
  if (upsampler) parts.upsampler = await open(upsampler, 'upsampler', network);
  checkParts(parts);
  return parts;
}

/** A component with the constructor's arguments as its config. */
async function openPart(source: AdmSource, role: AdmRole, options: LoadOptions) {
  const isOpen = 'checkpoint' in source;
  const raw = isOpen ? source.config : await readConfig(source, undefined, { signal: options.signal });
  const flags = readAdmFlags(raw, role, isOpen ? `ADM ${role}` : `${source.name}/config.json`);
  if (isOpen) return { opened: { ...source, config: flags.network }, flags, close: async () => {} };
  const checkpoint = await openWeights(source, { ...options, base: await onlyFile(source, options.signal) });
  return { opened: { config: flags.network, checkpoint }, flags, close: () => checkpoint.close() };
}

/** A file of weights may keep the name under which its authors published it, where it is the only one of its folder. */
async function onlyFile(folder: Directory, signal?: AbortSignal): Promise<string | undefined> {
  const files = (await folder.list(signal))?.filter((name) => name.endsWith('.safetensors')) ?? [];
  return files.length === 1 ? files[0].replace(/\.safetensors$/, '') : undefined;
}

/** @throws ConfigError for networks of different models */
function checkParts({ unet, classifier, upsampler }: AdmParts): void {
  const classes = unet?.network.config.numClasses ?? null;
  const judged = classifier?.network.config.outChannels;
  if (classes !== null && judged !== undefined && classes !== judged) {
    throw new ConfigError(
      `ADMPipeline: expected a classifier of the ${classes} classes of the U-Net, got one of ${judged}; take both from one model`,
      'out_channels',
    );
  }
  const all = [unet?.network.config, classifier?.network.config, upsampler?.network.config];
  const [first, ...others] = all.flatMap((config) => config?.inChannels ?? []);
  const odd = others.find((channels) => channels !== first);
  if (odd === undefined) return;
  throw new ConfigError(
    `ADMPipeline: expected networks of pictures with ${first} channels, got one with ${odd}; take all from one model`,
    'in_channels',
  );
}
