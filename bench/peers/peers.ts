/** Peers over channels, whatever carries them: a process per piece of work in Node, a worker in a page. */
import type { Peer, PeerSubject, PeerWork } from '../case.ts';
import { fits } from '../select.ts';
import { graphOf, MODEL_VARIANTS, variantsOf, withCapture } from './engines/onnxruntime.ts';
import { tensorVariants } from './engines/tensors.ts';
import { torchVariants } from './engines/torch.ts';
import { PeerClient, type Channel, type Job } from './protocol.ts';

/** Starts the other side, and gives the way to it. */
export type Spawn = () => Channel & { close(): void };

/** Of which peers there are. */
export interface Available {
  onnxruntime: boolean;
  /** onnxruntime's native CPU provider. */
  cpu: boolean;
  'jax-js': boolean;
  tfjs: boolean;
  /** PyTorch, on a GPU of its own finding or on the processor. */
  torch?: { cuda: boolean; spawn: Spawn };
  /** Whether a model's graphs were exported. */
  models(name: string): boolean;
  /** Called before a model is opened: makes what its export leaves out. */
  prepare?(model: string, variant: string): void | Promise<void>;
  /** Whether dispatches can be recorded and replayed, which takes inputs and outputs on the device. */
  capture?: boolean;
}

export function peersOver(spawn: Spawn, available: Available): Peer[] {
  const open = async (job: Job, start = spawn): Promise<PeerSubject> => {
    const channel = start();
    const client = new PeerClient(channel);
    try {
      const { version, settings, pipelined } = await client.open(job);
      return {
        version,
        settings,
        pipelined,
        first: () => client.first(),
        run: (runs) => client.run(runs),
        output: () => client.output(),
        dispose: () => channel.close(),
      };
    } catch (error) {
      channel.close();
      throw error;
    }
  };
  const peers: Peer[] = [];
  const ort = (name: string, provider: 'webgpu' | 'cpu', few: boolean): Peer => ({
    name,
    native: provider === 'cpu',
    variants(work, dtype) {
      if (dtype !== 'f32') return [];
      if ('model' in work && !available.models(work.model)) return [];
      const all = 'model' in work ? MODEL_VARIANTS : variantsOf(work.problem);
      if (few) return all.slice(0, 1);
      return available.capture ? withCapture(all) : all;
    },
    async open(work, variant, dtype) {
      if ('model' in work) await available.prepare?.(work.model, graphOf(variant));
      return open({ engine: 'onnxruntime', provider, variant, work, dtype });
    },
  });
  const tensors = (name: 'jax-js' | 'tfjs'): Peer => ({
    name,
    variants: (work, dtype) => (dtype === 'f32' && 'problem' in work ? tensorVariants(work.problem) : []),
    open: (work: PeerWork, variant, dtype) => open({ engine: name, variant, work, dtype }),
  });
  const pytorch = ({ cuda, spawn: start }: NonNullable<Available['torch']>): Peer => ({
    name: 'torch',
    native: !cuda,
    variants: (work, dtype) => ('model' in work ? torchVariants(work.model, dtype, cuda) : []),
    open: (work, variant, dtype) =>
      open({ engine: 'torch', device: cuda ? 'cuda' : 'cpu', variant, work, dtype }, start),
  });
  if (available.onnxruntime) peers.push(ort('onnxruntime', 'webgpu', false));
  if (available.cpu) peers.push(ort('onnxruntime-cpu', 'cpu', true));
  if (available['jax-js']) peers.push(tensors('jax-js'));
  if (available.tfjs) peers.push(tensors('tfjs'));
  if (available.torch) peers.push(pytorch(available.torch));
  return peers;
}

/** Those asked for by name (undefined: all), in the ways that fit a pattern (undefined: all). */
export function chosenPeers(
  peers: readonly Peer[],
  names: readonly string[] | undefined,
  pattern: string | undefined,
): Peer[] {
  const chosen = peers.filter((p) => names === undefined || names.includes(p.name));
  if (pattern === undefined) return chosen;
  return chosen.map((p) => ({
    ...p,
    variants: (work, dtype) => p.variants(work, dtype).filter((variant) => fits(pattern, variant)),
  }));
}

/** Names that were asked for and are not there. */
export function missingPeers(peers: readonly Peer[], names: readonly string[] = []): string[] {
  return names.filter((name) => !peers.some((p) => p.name === name));
}
