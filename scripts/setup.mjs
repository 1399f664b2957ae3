/**
 * Makes a clone ready to run: right Node, packages as locked, a build no older than its sources. Quiet and quick when
 * there is nothing to do. Plain JavaScript, because it runs before anything is installed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Progress goes to standard error, which leaves standard output to the command that follows. */
const say = (line) => process.stderr.write(`daguerre: ${line}\n`);

/** What the build reads; a folder's own time changes when a file in it comes or goes. */
const SOURCES = [
  'src',
  'demo',
  'package.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'vite.config.ts',
  'scripts/build.mjs',
  'scripts/wgslPlugin.ts',
];
const BUILT = ['dist/index.js', 'dist/node.js', 'dist/cli.js', 'dist/demo/index.html'];

export function checkNode(version = process.versions.node) {
  const [major, minor] = version.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return undefined;
  return `needs Node 20.19 or newer, and this is ${version}; install one from https://nodejs.org or run: nvm install 22`;
}

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/**
 * Whether the packages on disk are those of package-lock.json, by npm's own record of what it installed (written last,
 * so a killed install has none). Optional packages may be absent: most are for other systems.
 */
export function packagesAreCurrent(folder = root) {
  const wanted = readJson(join(folder, 'package-lock.json'))?.packages ?? {};
  const installed = readJson(join(folder, 'node_modules', '.package-lock.json'))?.packages;
  if (!installed) return false;
  return Object.entries(wanted).every(([path, { version, optional, devOptional }]) => {
    if (path === '' || version === undefined) return true;
    return installed[path] ? installed[path].version === version : Boolean(optional || devOptional);
  });
}

function newest(path) {
  const info = statSync(path, { throwIfNoEntry: false });
  if (!info) return 0;
  if (!info.isDirectory()) return info.mtimeMs;
  return Math.max(info.mtimeMs, ...readdirSync(path).map((name) => newest(join(path, name))));
}

export function buildIsCurrent(folder = root) {
  const built = BUILT.map((file) => statSync(join(folder, file), { throwIfNoEntry: false })?.mtimeMs ?? 0);
  return Math.min(...built) > Math.max(...SOURCES.map((file) => newest(join(folder, file))));
}

function npm(...args) {
  const byNpm = process.env.npm_execpath;
  const [program, first] = byNpm?.endsWith('.js') ? [process.execPath, [byNpm]] : ['npm', []];
  const options = { cwd: root, stdio: ['ignore', 2, 2], shell: program === 'npm' && process.platform === 'win32' };
  const { status, error } = spawnSync(program, [...first, ...args], options);
  if (status === 0) return;
  // A build that stopped half-way has new files, which must not pass for a current build next time.
  rmSync(join(root, BUILT[0]), { force: true });
  say(`npm ${args.join(' ')} failed${error ? `: ${error.message}` : ''}; the lines above say why`);
  process.exit(status || 1);
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** One set-up at a time: two `npm ci` in one folder leave neither's packages. */
function withLock(work) {
  const lock = join(root, '.cache', 'setup-lock');
  const owner = join(lock, 'pid');
  mkdirSync(dirname(lock), { recursive: true });
  let told = false;
  for (;;) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const pid = Number(existsSync(owner) ? readFileSync(owner, 'utf8') : 0);
    // No pid yet: its owner is between two lines of this function, or was killed there, which age tells.
    const age = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (pid ? !isAlive(pid) : age > 5000) {
      rmSync(lock, { recursive: true, force: true });
      continue;
    }
    if (!told && pid) say(`waiting for process ${pid}, which is setting up`);
    told ||= pid > 0;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
  }
  const release = () => rmSync(lock, { recursive: true, force: true });
  process.once('exit', release);
  writeFileSync(owner, String(process.pid));
  work();
  release();
  process.off('exit', release);
}

/** Installs and builds what is missing or out of date. Ends the process with a message when that fails. */
export function setup() {
  const complaint = checkNode();
  if (complaint) {
    say(complaint);
    process.exit(1);
  }
  if (packagesAreCurrent() && buildIsCurrent()) return;
  withLock(() => {
    if (!packagesAreCurrent()) {
      say(`installing the packages of package-lock.json (npm ci); ${existsSync(BUILT[0]) ? 'they changed' : 'once'}`);
      npm('ci', '--no-audit', '--no-fund');
    }
    if (!buildIsCurrent()) {
      say('building (npm run build)');
      npm('run', '--silent', 'build');
    }
  });
}

if (process.argv[1] && import.meta.url === pathToFileURL(resolve(process.argv[1])).href) setup();
