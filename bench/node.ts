/** The bench in Node, on Dawn. */
import { join } from 'node:path';
import { openGpu } from '../src/node/adapter.ts';
import { pathDirectory } from '../src/node/fileSource.ts';
import { nodePeers, type NodePeerFolders } from './peers/nodePeers.ts';
import { chosenPeers, missingPeers } from './peers/peers.ts';
import type { CoreReport } from './run.ts';
import { runCases } from './run.ts';
import type { Selection } from './select.ts';

export interface RunContext {
  /** Folders on disk: `weights` of this package, recorded outputs of models, and what peers need. */
  folders: { weights: string; truths: string; peers: NodePeerFolders };
  adapter: string;
  /** Names of peers; all that are installed where undefined. */
  peers?: readonly string[];
  signal?: AbortSignal;
  note?(line: string): void;
}

/** @throws AdapterError, AbortedError */
export async function runInNode(selection: Selection, context: RunContext): Promise<CoreReport> {
  const { folders, adapter, signal, note } = context;
  // First runs are compared: Mesa would otherwise take what it compiled on an earlier day from its disk cache.
  process.env.MESA_SHADER_CACHE_DISABLE ??= 'true';
  const { gpu, name } = await openGpu({ adapter });
  const here = context.peers?.length === 0 ? [] : await nodePeers(folders.peers, name);
  const missing = missingPeers(here, context.peers);
  if (missing.length) note?.(`peers: not here: ${missing.join(', ')}; see bench/README.md`);
  const peers = chosenPeers(here, context.peers, selection.variants);
  if (peers.length) note?.(`peers: ${peers.map((p) => p.name).join(', ')}`);
  return runCases(selection, {
    gpu,
    weights: pathDirectory(folders.weights),
    truths: pathDirectory(folders.truths),
    peers,
    signal,
    note,
  });
}

/** Where everything lies below the root of this package. */
export function foldersOf(root: string): RunContext['folders'] {
  return {
    weights: join(root, 'weights'),
    truths: join(root, 'bench', 'models', 'truth'),
    peers: {
      packages: join(root, 'bench', 'peers'),
      graphs: join(root, '.cache', 'bench', 'graphs'),
      child: join(root, '.bench', 'node', 'child.js'),
    },
  };
}
