/** The peers of a run in Node: each in a child process of its own, on the adapter that we are on. */
import { fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fetchedFolder, libraryFolders } from '../../src/node/setup/components.ts';
import { hasSystemLoader, softwareEnvironment, type SoftwareAdapter } from '../../src/node/softwareAdapter.ts';
import type { Peer } from '../case.ts';
import { makeGraphWeights } from './graphWeights.ts';
import { findTorch, pythonChannel } from './python.ts';
import { peersOver } from './peers.ts';
import type { Channel } from './protocol.ts';

export interface NodePeerFolders {
  /** Holds `node_modules` with the peers, see bench/peers/package.json, and the scripts in Python. */
  packages: string;
  /** Exported models; see bench/peers/export.py. */
  graphs: string;
  /** The built child.ts. */
  child: string;
}

const SOFTWARE: readonly string[] = ['lavapipe', 'swiftshader'] satisfies SoftwareAdapter[];

/** What is installed, as peers. @param adapter the name that `openGpu` gave of what it opened */
export async function nodePeers(folders: NodePeerFolders, adapter: string): Promise<Peer[]> {
  const isThere = (name: string) => existsSync(join(folders.packages, 'node_modules', name, 'package.json'));
  const env = await environmentFor(adapter);
  const spawn = () => forkChannel(folders, env);
  const torch = await findTorch(folders.packages);
  return peersOver(spawn, {
    onnxruntime: isThere('onnxruntime-node'),
    cpu: isThere('onnxruntime-node'),
    'jax-js': isThere('@jax-js/jax'),
    tfjs: isThere('@tensorflow/tfjs-backend-webgpu'),
    torch: torch && {
      // Beside an adapter that is the processor, a GPU would be no mark to come near.
      cuda: torch.cuda && !SOFTWARE.includes(adapter),
      spawn: () => pythonChannel(folders.packages, 'torch_eager.py'),
    },
    models: (name) => existsSync(join(folders.graphs, name)),
    prepare: (model, variant) => void makeGraphWeights(join(folders.graphs, model), variant),
  });
}

/** Only the driver that we use, and no cache of compiled shaders: first runs are compared. */
async function environmentFor(adapter: string): Promise<Record<string, string | undefined>> {
  const drivers = SOFTWARE.includes(adapter) ? await softwareEnvironment([adapter as SoftwareAdapter]) : ownLoader();
  return { ...process.env, ...drivers, DAGUERRE_ADAPTER: adapter, MESA_SHADER_CACHE_DISABLE: 'true' };
}

/** Where the system has no Vulkan loader, that which we use ourselves. */
function ownLoader(): Record<string, string> {
  const folder = hasSystemLoader() ? undefined : fetchedFolder('loader');
  if (!folder) return {};
  const libraries = [...libraryFolders('loader', folder), process.env.LD_LIBRARY_PATH ?? ''].filter(Boolean);
  return { LD_LIBRARY_PATH: libraries.join(delimiter) };
}

/** A child and the way to it; `close` ends it. */
function forkChannel(
  { packages, graphs, child: file }: NodePeerFolders,
  env: Record<string, string | undefined>,
): Channel & { close(): void } {
  const child = fork(file, [packages, graphs], {
    env,
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let said = '';
  child.stderr!.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2000)));
  return {
    send: (message) => {
      if (child.connected) child.send(message as object);
    },
    onMessage: (listener) => void child.on('message', listener),
    onEnd: (listener) => void child.once('exit', (code, signal) => listener(`${signal ?? code}; ${said.trim()}`)),
    // Asked nicely it would run its destructors, in which some drivers crash.
    close: () => void child.kill('SIGKILL'),
  };
}
