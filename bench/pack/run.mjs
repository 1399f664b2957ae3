/**
 * `npm run bench:pack`: one folder with everything that the bench takes on a bare Linux machine with a GPU (built
 * bench, Node, Dawn, peers, exported models without their weights, a Vulkan loader), and an archive of it. Plain
 * JavaScript, because Node 20 runs no TypeScript.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** What a machine's uploads often allow. */
const MOST_BYTES = 64 * 2 ** 20;
const NAME = 'daguerre-bench';

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(dirname(here));
const out = join(root, '.bench', 'pack');
const pack = join(out, NAME);
const into = (...path) => join(pack, ...path);

/** Copies what is there; `keep` decides about files by their path below `from`. */
function copy(from, to, keep = () => true) {
  if (!existsSync(from)) return false;
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to, {
    recursive: true,
    dereference: true,
    filter: (path) => path === from || statSync(path).isDirectory() || keep(path.slice(from.length + 1)),
  });
  return true;
}

const platform = `${process.platform}-${process.arch}`;
if (process.platform !== 'linux') {
  console.error(`bench:pack: packs for Linux, and this is ${platform}; run it on the system that the bench is for`);
  process.exit(1);
}

process.chdir(root);
const { build } = await import('vite');
await build({ configFile: join(root, 'bench', 'vite.config.ts'), mode: 'node' });

rmSync(out, { recursive: true, force: true });
const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
const git = spawnSync('git', ['describe', '--always', '--dirty=+'], { encoding: 'utf8' });
mkdirSync(pack, { recursive: true });
// The bench finds its root by the name in here, and its commit, for there is no checkout beside it.
const commit = git.status === 0 ? git.stdout.trim() : undefined;
const about = { name: 'daguerre', version, commit, type: 'module' };
writeFileSync(into('package.json'), `${JSON.stringify(about, null, 2)}\n`);
copy('.bench/node', into('.bench', 'node'));
copy('bench/models/truth', into('bench', 'models', 'truth'));
copy('bench/models/models.json', into('bench', 'models', 'models.json'));
// PyTorch as a peer, where the machine has it: what it is told, and the models that it builds.
for (const script of ['torch_eager', 'torch_probe', 'published', 'seeded', 'unet_condition']) {
  copy(`bench/peers/${script}.py`, into('bench', 'peers', `${script}.py`));
}
for (const script of ['layers', 'fast_norm', 'models', 'dit_model']) {
  copy(`training/${script}.py`, into('training', `${script}.py`));
}
for (const folder of ['emoji', 'emoji-reference']) {
  copy(join('weights', folder), into('weights', folder), (path) => !/\.(png|md)$/.test(path));
}
copy('node_modules/commander', into('node_modules', 'commander'));
copy(
  'node_modules/webgpu',
  into('node_modules', 'webgpu'),
  (path) => !path.startsWith('dist/') || path.startsWith(`dist/${platform}/`),
);
copy(process.execPath, into('bin', 'node'));
chmodSync(into('bin', 'node'), 0o755);

/** What each peer needs at run time; the packages also bring maps, other systems' libraries, other module formats. */
const PEERS = {
  'onnxruntime-node': (path) => /^(package\.json|dist\/.*\.js)$/.test(path) || path.includes(`linux/${process.arch}`),
  'onnxruntime-common': (path) => /^(package\.json|dist\/cjs\/.*)$/.test(path) && !path.endsWith('.map'),
  '@jax-js/jax': (path) => /^(package\.json|dist\/.*\.js)$/.test(path),
  '@tensorflow/tfjs-core': (path) => /^(package\.json|dist\/tf-core\.node\.js)$/.test(path),
  '@tensorflow/tfjs-backend-webgpu': (path) => /^(package\.json|dist\/tf-backend-webgpu\.node\.js)$/.test(path),
  '@tensorflow/tfjs-backend-cpu': (path) => /^(package\.json|dist\/tf-backend-cpu\.node\.js)$/.test(path),
};
for (const name of ['seedrandom', 'long']) PEERS[name] = (path) => /\.(js|cjs|json)$/.test(path);
copy('bench/peers/package.json', into('bench', 'peers', 'package.json'));
for (const [name, keep] of Object.entries(PEERS)) {
  const from = join('bench', 'peers', 'node_modules', name);
  if (!copy(from, into('bench', 'peers', 'node_modules', name), keep)) {
    console.error(`bench:pack: ${name} is not installed and left out; npm run bench:peers brings it`);
  }
}
// Weights are seeded and made again where the bench runs.
const graphs = join('.cache', 'bench', 'graphs');
if (!copy(graphs, into('.cache', 'bench', 'graphs'), (path) => /\.(onnx|json)$/.test(path))) {
  console.error('bench:pack: no exported models; peers will take part in the suite of kernels only; see bench:peers');
}
await packLoader();
copy(join(here, 'README.md'), into('README.md'));
copy(join(here, 'nvidia_icd.json'), into('nvidia_icd.json'));
copy(join(here, 'run.sh'), into('run.sh'));
chmodSync(into('run.sh'), 0o755);
removeEmpty(pack);

const archive = `${pack}.tar.xz`;
// Highest compression that still unpacks in little memory; both cores.
const tar = spawnSync('tar', ['-I', 'xz -6 -T0', '-cf', archive, '-C', out, NAME], { stdio: 'inherit' });
if (tar.status !== 0) process.exit(tar.status ?? 1);
const { size } = statSync(archive);
console.log(`${archive}: ${(size / 2 ** 20).toFixed(1)} MiB`);
if (size > MOST_BYTES) {
  console.error(`bench:pack: expected at most ${MOST_BYTES / 2 ** 20} MiB; leave a peer out of bench/peers`);
  process.exit(1);
}

/** Containers that see a GPU often lack the loader that finds its driver. */
async function packLoader() {
  const { ensureComponent } = await import(pathToFileURL(join(root, 'dist', 'node.js')).href).catch(() => ({}));
  // Where it lies, `DAGUERRE_CACHE` may say.
  const folder = await ensureComponent?.('loader').catch(() => undefined);
  if (!folder || !copy(folder, into('.cache', 'loader'))) {
    console.error(
      'bench:pack: without a Vulkan loader: the machine must have libvulkan.so.1 (npx daguerre doctor --fetch)',
    );
  }
}

function removeEmpty(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) removeEmpty(join(folder, entry.name));
  }
  if (readdirSync(folder).length === 0) rmSync(folder, { recursive: true });
}
