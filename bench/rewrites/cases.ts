/**
 * What each rewrite is worth: a network with all of them, with none, without each one that changes what this network
 * dispatches on this adapter, and with those that are optional; in turns. So are measured what a device can be told to
 * do without: subgroups, and choosing ways of computing by measurement.
 */
import { LimitError, prepare, type Capabilities, type Device, type Graph } from '../../src/engine/index.ts';
import { optionalRewrites, rewrites } from '../../src/kernels/index.ts';
import { F16_PIPELINE, NETWORK_NORM } from '../../test/support/close.ts';
import type { BenchCase } from '../case.ts';
import { networkCases, type ModelFolders } from '../models/cases.ts';
import { networkCase, type NetworkCase } from '../models/modelCase.ts';
import { PUBLISHED, recordModel, type PublishedModel } from '../models/published.ts';
import { seededNetwork } from '../models/publishedCases.ts';
import { ProgramSubject, rewritesWith, type ProgramWork } from '../programSubject.ts';
import { SOFTWARE_MODEL_FLOPS } from '../select.ts';
import { signatureOf, SUBGROUPS, withoutSubgroups } from '../subgroups.ts';
import { MismatchError, verifyNorm } from '../verify.ts';
import { resnetBlocks, transformerBlock } from './parts.ts';

/** What a variant does without, or with. */
export interface Variant {
  /** Behind the network's name: `without fold-shift`. */
  title: string;
  rewritesOff?: ReadonlySet<string>;
  rewritesOn?: ReadonlySet<string>;
  without?: readonly GPUFeatureName[];
  usual?: boolean;
}

export interface Circumstances {
  caps: Capabilities;
  /** Whether ways of computing are chosen by measurement. */
  tune: boolean;
  /** Pattern of names; a network asked for by its full name is taken at any size. */
  only?: string;
}

/** ‖off − on‖ / ‖on‖. */
const TOLERANCE = { f32: NETWORK_NORM, f16: F16_PIPELINE } as const;

/**
 * Stable Diffusion 1.5's U-Net with a quarter of its channels and of its latents' sides: heads and groups are as wide
 * as in the original, there are fewer of them.
 */
const QUARTER: PublishedModel = {
  ...PUBLISHED['sd15-unet'],
  case: 'sd15-quarter/unet-2x16x16',
  sample: [2, 4, 16, 16],
  context: [2, 77, 192],
  config: {
    ...PUBLISHED['sd15-unet'].config,
    attention_head_dim: 2,
    block_out_channels: [80, 160, 320, 320],
    cross_attention_dim: 192,
    norm_num_groups: 8,
  },
};

/** The suite `rewrites`. */
export async function rewriteCases(
  folders: ModelFolders,
  dtype: 'f32' | 'f16',
  circumstances: Circumstances,
): Promise<BenchCase[]> {
  const isFinite = (out: Float32Array) => (out.every(Number.isFinite) ? 0 : Infinity);
  const own = {
    [QUARTER.case]: recordModel(QUARTER, dtype),
    'parts/resnet-1x32x32': resnetBlocks(dtype),
    'parts/transformer-1x256': transformerBlock(dtype),
  };
  const networks = [
    ...(await networkCases(folders, dtype)),
    ...Object.entries(own).map(([name, recorded]) => seededNetwork(name, recorded, isFinite)),
  ];
  return oneSizeEach(networks, circumstances).flatMap((network) => variantCases(network, circumstances));
}

/** Of each network one size: on a processor the smallest, on a GPU the largest that it can run. */
export function oneSizeEach(networks: readonly NetworkCase[], { caps, only }: Circumstances): NetworkCase[] {
  const named = networks.filter(({ group, id }) => `${group}/${id}` === only);
  if (named.length) return named;
  const sizes = new Map<string, { network: NetworkCase; flops: number }>();
  for (const network of networks) {
    const flops = flopsOf(network.graph, caps);
    if (flops === undefined || (caps.software && flops > SOFTWARE_MODEL_FLOPS)) continue;
    const kind = `${network.group}/${network.id.split('-')[0]}`;
    const known = sizes.get(kind);
    if (!known || (caps.software ? flops < known.flops : flops > known.flops)) sizes.set(kind, { network, flops });
  }
  return [...sizes.values()].map(({ network }) => network);
}

/** Multiply–adds × 2 as planned; undefined beyond the limits. */
function flopsOf(graph: Graph, caps: Capabilities): number | undefined {
  try {
    return prepare(graph, caps, { rewrites }).report.flops;
  } catch (error) {
    if (error instanceof LimitError) return undefined;
    throw error;
  }
}

/**
 * Those that change what is dispatched, which the plans tell, not a list; and the network itself, opened a second time.
 */
export function variantsOf(graph: Graph, { caps, tune }: Pick<Circumstances, 'caps' | 'tune'>): Variant[] {
  const on = prepare(graph, caps, { rewrites });
  const fired = rewrites.map((r) => r.name).filter((name) => on.report.rewrites[name]);
  const candidates: Variant[] = [
    { title: 'without any', rewritesOff: new Set(rewrites.map((r) => r.name)) },
    ...fired.map((name) => ({ title: `without ${name}`, rewritesOff: new Set([name]) })),
    // Each with those in front of it, as the later ones do nothing alone.
    ...optionalRewrites.map((_, i) => {
      const names = optionalRewrites.slice(0, i + 1).map((r) => r.name);
      return { title: `with ${names.join(' and ')}`, rewritesOn: new Set(names) };
    }),
    { title: 'without subgroups', without: SUBGROUPS },
  ];
  // Opened last, while the network itself is opened first: a ratio no further from 1 than theirs proves nothing.
  const again: Variant = { title: 'once more' };
  const same = signatureOf(on.dispatches);
  const changing = candidates.filter(({ rewritesOff, rewritesOn, without }) => {
    const lesser = without ? withoutSubgroups(caps) : caps;
    try {
      const { dispatches, report } = prepare(graph, lesser, { rewrites: rewritesWith(rewritesOn), rewritesOff });
      // An optional one may only add to what is measured when ways are chosen.
      const fires = [...(rewritesOn ?? [])].every((name) => report.rewrites[name]);
      return (tune && rewritesOn && fires) || signatureOf(dispatches) !== same;
    } catch (error) {
      // Without it the network does not fit: the run will say so.
      if (error instanceof LimitError) return true;
      throw error;
    }
  });
  return [...changing, ...(tune ? [{ title: 'without tuning', usual: true }] : []), again];
}

/** The network as it is, and its variants, each of which gives what the network gives or is not measured. */
export function variantCases(network: NetworkCase, circumstances: Circumstances): BenchCase[] {
  const { group, id, dtype, graph } = network;
  const { peerWork: _, ...plain } = networkCase(network);
  const name = `${group}/${id}`;
  let on: Float32Array | undefined;
  // All share the same weights: where weights lie in memory changes a program's speed by more than most rewrites do.
  const works = new WeakMap<Device, Promise<ProgramWork>>();
  const open = async (device: Device, variant?: Variant): Promise<ProgramSubject> => {
    if (!works.has(device)) works.set(device, network.work(device));
    const work = await works.get(device)!;
    return new ProgramSubject(device, {
      ...work,
      sharesWeights: true,
      rewritesOff: variant?.rewritesOff,
      rewritesOn: variant?.rewritesOn,
      async verify(program) {
        const error = await work.verify(program);
        const out = await program.read('out');
        if (!variant) on = out;
        if (!on) throw new MismatchError(`bench: expected a right result of ${name} with all rewrites, got none`);
        return Math.max(error, verifyNorm(out, on, TOLERANCE[dtype], `${name} ${variant?.title ?? ''}`));
      },
    });
  };
  const whole: BenchCase = {
    ...plain,
    ...{ suite: 'rewrites', group: `${name} ${dtype}`, sharedDevice: 'with all' },
    open: (device) => open(device),
  };
  const variants = variantsOf(graph, circumstances).map((variant): BenchCase => {
    const { title, without, usual } = variant;
    return {
      ...whole,
      ...{ name: `${name} ${title}`, against: name, without, usual },
      sharedDevice: without || usual ? title : whole.sharedDevice,
      quick: plain.quick && title === 'without any',
      open: (device) => open(device, variant),
    };
  });
  return [whole, ...variants];
}
