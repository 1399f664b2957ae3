/** A peer's process in Node: forked by the bench, speaks the protocol over the channel that fork gives. */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { openGpu } from '../../src/node/adapter.ts';
import { jaxJsEngine, type JaxJs } from './engines/jaxJs.ts';
import { onnxruntimeEngine, type Ort } from './engines/onnxruntime.ts';
import { tfjsEngine, type Tfjs } from './engines/tfjs.ts';
import { PeerError, servePeer, type Engine, type ScriptEngine } from './protocol.ts';

/** Arguments: the folder whose node_modules holds the peers, and the folder of exported models. */
const [peersFolder, graphsFolder] = process.argv.slice(2);
const require = createRequire(join(peersFolder, 'package.json'));

const ENGINES: Record<ScriptEngine, () => Promise<Engine>> = {
  async onnxruntime() {
    return onnxruntimeEngine({
      ort: require('onnxruntime-node') as Ort,
      version: versionOf('onnxruntime-node'),
      async modelGraph(name, variant) {
        const model = join(graphsFolder, name, `${variant}.onnx`);
        if (!existsSync(model)) throw new PeerError(`onnxruntime: expected ${model}; make it with npm run bench:peers`);
        return { model };
      },
    });
  },
  async tfjs() {
    await offerGpu();
    const tf = (await importPeer('@tensorflow/tfjs-core')) as Tfjs & {
      setBackend(name: string): Promise<boolean>;
      ready(): Promise<void>;
    };
    await importPeer('@tensorflow/tfjs-backend-webgpu');
    if (!(await tf.setBackend('webgpu'))) throw new PeerError('tfjs: expected its WebGPU backend to start');
    await tf.ready();
    return tfjsEngine(tf, versionOf('@tensorflow/tfjs-backend-webgpu'));
  },
  async 'jax-js'() {
    await offerGpu();
    const jax = (await importPeer('@jax-js/jax')) as JaxJs & {
      init(device: string): Promise<string[]>;
      defaultDevice(device: string): void;
    };
    if (!(await jax.init('webgpu')).includes('webgpu')) throw new PeerError('jax-js: expected WebGPU to start');
    jax.defaultDevice('webgpu');
    return jaxJsEngine(jax, versionOf('@jax-js/jax'));
  },
};

/** Both take the device from where a page has it. */
async function offerGpu(): Promise<void> {
  const { gpu } = await openGpu();
  Object.defineProperty(globalThis, 'navigator', { value: { gpu, userAgent: 'node' }, configurable: true });
}

function folderOf(name: string): string {
  return join(peersFolder, 'node_modules', name);
}

interface Manifest {
  version: string;
  module?: string;
  main: string;
}

const manifestOf = (name: string) => JSON.parse(readFileSync(join(folderOf(name), 'package.json'), 'utf8')) as Manifest;
const versionOf = (name: string) => manifestOf(name).version;

/** Two of them are CommonJS in Node, and share a core that must be loaded once. */
async function importPeer(name: string): Promise<unknown> {
  if (name.startsWith('@tensorflow')) return require(name);
  const { module, main } = manifestOf(name);
  return import(/* @vite-ignore */ pathToFileURL(join(folderOf(name), module ?? main)).href);
}

servePeer(
  {
    send: (message) => void process.send?.(message),
    onMessage: (listener) => void process.on('message', listener),
  },
  ({ engine }) => ENGINES[engine as ScriptEngine](),
);
// When the bench is gone there is nobody left to serve. Dawn's threads never end on their own.
process.on('disconnect', () => process.exit(0));
