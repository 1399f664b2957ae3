/** What `daguerre inspect` says of a VQ-VAE with its priors. */
import type { Checkpoint, Directory } from '../../loading/index.ts';
import { antixkVqVae, vqVae } from '../../models/autoencoders/vqVae.ts';
import { vqVae2 } from '../../models/autoencoders/vqVae2.ts';
import { planModel } from '../../models/loadedModel.ts';
import type { OpenedModel } from '../../models/modelSource.ts';
import { pixelSnailDefinition } from '../../models/pixelSnail/pixelSnailModel.ts';
import { openCodePriorFolder } from '../../pipelines/autoregressive/parts.ts';
import { plannerOf, type Planner } from './inspectPlans.ts';

/** A part, named and ready to be planned. */
export interface CodePriorPart {
  name: string;
  className: string;
  checkpoint: Checkpoint;
  planner: Planner;
}

/**
 * The parts of a folder; undefined for another one. Their checkpoints are the caller's to close.
 * @throws NotFoundError, FormatError (for pickles, too), ConfigError, WeightError
 */
export async function openCodePriors(directory: Directory): Promise<CodePriorPart[] | undefined> {
  const parts = await openCodePriorFolder(directory);
  if (!parts) return undefined;
  const top = parts.top && pixelSnailDefinition.readConfig(parts.top.config).shape;
  return Object.entries(parts).map(([name, { config, checkpoint }]) => {
    const className = String(config._class_name);
    const planner = name === 'vqvae' ? decoder(config, directory.name, top) : prior(config);
    return { name, className, checkpoint, planner };
  });
}

/** Cells are codes of the top level. */
function decoder(raw: OpenedModel['config'], where: string, sampleSize: Planner['sampleSize']): Planner {
  const part = 'decoder';
  switch (raw._class_name) {
    case 'VQVAE2': {
      const config = vqVae2.readConfig(raw);
      const call = { part: 'decodeCode' as const };
      return {
        ...{ part, sampleSize, factor: 8 },
        plan: ({ batch, height, width }, dtype, caps) =>
          planModel(vqVae2, config, { ...call, batch, height: 8 * height, width: 8 * width }, dtype, caps),
      };
    }
    case 'VQVAE1': {
      const config = vqVae.readConfig(raw);
      const plan: Planner['plan'] = (cells, ...rest) =>
        planModel(vqVae, config, { part: 'decodeIds', ...cells }, ...rest);
      return { part, sampleSize, factor: 4, plan };
    }
    case 'VQVAE': {
      const config = antixkVqVae.readConfig(raw);
      const plan: Planner['plan'] = (cells, ...rest) =>
        planModel(antixkVqVae, config, { part: 'decodeIds', ...cells }, ...rest);
      return { part, sampleSize, factor: 2 ** config.hiddenDims.length, plan };
    }
    default:
      return { ...plannerOf(String(raw._class_name), raw, where), sampleSize };
  }
}

/** One evaluation draws a code of each picture. */
function prior(raw: OpenedModel['config']): Planner {
  const config = pixelSnailDefinition.readConfig(raw);
  const conditioned = config.nCondResBlock > 0;
  const plan: Planner['plan'] = ({ batch }, ...rest) =>
    planModel(pixelSnailDefinition, config, { part: 'row', batch, conditioned }, ...rest);
  return { part: `per code of ${config.shape.join('×')}`, plan };
}
