/** A peer's worker in a page: speaks the protocol over messages. The packages are served below /peers/. */
import { jaxJsEngine, type JaxJs } from '../peers/engines/jaxJs.ts';
import { onnxruntimeEngine, type Ort } from '../peers/engines/onnxruntime.ts';
import { tfjsEngine, type Tfjs } from '../peers/engines/tfjs.ts';
import { PeerError, servePeer, type Engine, type ScriptEngine } from '../peers/protocol.ts';

type WebOrt = Ort & {
  env: { wasm: { wasmPaths: string; numThreads: number }; webgpu: { device: GPUDevice | Promise<GPUDevice> } };
};

const PACKAGES = new URL('/peers/', location.origin).href;
const GRAPHS = new URL('/graphs/', location.origin).href;

const load = (path: string): Promise<unknown> => import(/* @vite-ignore */ PACKAGES + path);

async function versionOf(name: string): Promise<string> {
  const response = await fetch(`${PACKAGES}${name}/package.json`);
  return ((await response.json()) as { version: string }).version;
}

async function bytesOf(url: string): Promise<Uint8Array> {
  const response = await fetch(url);
  if (!response.ok)
    throw new PeerError(`peer: expected ${url}, got ${response.status}; make it with npm run bench:peers`);
  return new Uint8Array(await response.arrayBuffer());
}

const ENGINES: Record<ScriptEngine, () => Promise<Engine>> = {
  async onnxruntime() {
    const ort = (await load('onnxruntime-web/dist/ort.webgpu.min.mjs')) as WebOrt;
    ort.env.wasm.wasmPaths = `${PACKAGES}onnxruntime-web/dist/`;
    ort.env.wasm.numThreads = 1;
    return onnxruntimeEngine({
      ort,
      version: await versionOf('onnxruntime-web'),
      idle: async () => (await ort.env.webgpu.device).queue.onSubmittedWorkDone(),
      async modelGraph(name, variant) {
        const [model, data] = await Promise.all(
          ['onnx', 'bin'].map((ending) => bytesOf(`${GRAPHS}${name}/${variant}.${ending}`)),
        );
        return { model, externalData: [{ path: `${variant}.bin`, data }] };
      },
    });
  },

  /** Its modules ask for each other by bare names, which workers cannot resolve; its scripts share a global. */
  async tfjs() {
    for (const file of ['tfjs-core/dist/tf-core.min.js', 'tfjs-backend-webgpu/dist/tf-backend-webgpu.min.js']) {
      const text = new TextDecoder().decode(await bytesOf(`${PACKAGES}@tensorflow/${file}`));
      (0, eval)(text);
    }
    const { tf } = globalThis as unknown as {
      tf: Tfjs & { setBackend(name: string): Promise<boolean>; ready(): Promise<void> };
    };
    if (!(await tf.setBackend('webgpu'))) throw new PeerError('tfjs: expected its WebGPU backend to start');
    await tf.ready();
    return tfjsEngine(tf, await versionOf('@tensorflow/tfjs-backend-webgpu'));
  },

  async 'jax-js'() {
    const jax = (await load('@jax-js/jax/dist/index.js')) as JaxJs & {
      init(device: string): Promise<string[]>;
      defaultDevice(device: string): void;
    };
    if (!(await jax.init('webgpu')).includes('webgpu')) throw new PeerError('jax-js: expected WebGPU to start');
    jax.defaultDevice('webgpu');
    return jaxJsEngine(jax, await versionOf('@jax-js/jax'));
  },
};

servePeer(
  {
    send: (message) => postMessage(message),
    onMessage: (listener) => addEventListener('message', (event) => listener(event.data)),
  },
  ({ engine }) => ENGINES[engine as ScriptEngine](),
);
