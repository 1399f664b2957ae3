import { isSoftware as isSoftwareInfo } from '../engine/device.ts';
import { AdapterError } from '../engine/errors.ts';
import { beSparing } from './patience.ts';
import { ensureSoftwareAdapter, findSystemDrivers, type SoftwareAdapter, useSystemDrivers } from './softwareAdapter.ts';

/** `auto`: hardware, else lavapipe, else SwiftShader. Any other name is matched against Dawn's adapter names. */
export type AdapterChoice = 'auto' | 'hardware' | 'null' | SoftwareAdapter | (string & {});

/** A WebGPU entry point, and which adapter it leads to. */
export interface OpenedGpu {
  gpu: GPU;
  /** `hardware`, `lavapipe`, `swiftshader`, `null`, or the name that was asked for. */
  name: string;
}

interface Dawn {
  create: (flags: string[]) => GPU;
  globals: Record<string, unknown>;
}

/** Dawn's names of the software adapters. */
const DAWN_NAMES: Record<SoftwareAdapter, string> = { lavapipe: 'llvmpipe', swiftshader: 'SwiftShader' };

/**
 * Dawn instances stay reachable for as long as the process lives: once one is collected, the process crashes or hangs.
 * A global, because bundles and test runners may load this module twice.
 */
const KEPT = Symbol.for('daguerre.node.gpus');

interface Keeper {
  instances: GPU[];
  opened: Map<string, Promise<OpenedGpu>>;
}

function keeper(): Keeper {
  const holder = globalThis as unknown as Record<symbol, Keeper | undefined>;
  return (holder[KEPT] ??= { instances: [], opened: new Map() });
}

function keepForever(gpu: GPU): GPU {
  keeper().instances.push(gpu);
  return gpu;
}

async function loadDawn(): Promise<Dawn> {
  try {
    return (await import('webgpu')) as unknown as Dawn;
  } catch (cause) {
    throw new AdapterError(
      `openGpu: the npm package webgpu (Dawn) does not load on ${process.platform} ${process.arch}; ` +
        `run: npm install webgpu\n  (${(cause as Error).message.split('\n')[0]})`,
      { cause },
    );
  }
}

/** Puts the interface objects and flag enums of WebGPU (`GPUBufferUsage` …) on `globalThis`, as a browser has them. */
export async function installGlobals(): Promise<void> {
  const { globals } = await loadDawn();
  for (const [name, value] of Object.entries(globals)) {
    if (!(name in globalThis)) Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
}

/**
 * Features that browsers keep behind a flag; of ours, subgroup matrices, which a device tries out before it counts on
 * them.
 */
const EXPERIMENTAL = 'enable-dawn-features=allow_unsafe_apis';

/** Whether an adapter computes on the CPU. */
export function isSoftware(adapter: GPUAdapter): boolean {
  return isSoftwareInfo(adapter.info);
}

/** Dawn answers with nothing, or with an exception, when no adapter has the name asked for. */
function firstAdapter(gpu: GPU): Promise<GPUAdapter | null> {
  return gpu.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null);
}

async function openSoftware(name: SoftwareAdapter, dawn: Dawn): Promise<OpenedGpu> {
  beSparing(dawn.globals);
  if (name === 'lavapipe' && findSystemDrivers().some((file) => /lvp_icd/.test(file))) {
    const gpu = keepForever(dawn.create([`adapter=${DAWN_NAMES[name]}`]));
    if (await firstAdapter(gpu)) return { gpu, name }; // else it is older than Dawn accepts
  }
  const restore = await ensureSoftwareAdapter(name);
  try {
    const gpu = keepForever(dawn.create([`adapter=${DAWN_NAMES[name]}`]));
    // Dawn looks for drivers at the first request, so it has to happen while the environment names ours.
    if (await firstAdapter(gpu)) return { gpu, name };
  } finally {
    restore();
  }
  throw new AdapterError(`openGpu: ${name} is in place, but Dawn does not accept it; run: npx daguerre doctor`);
}

async function openHardware(dawn: Dawn): Promise<OpenedGpu | undefined> {
  if (process.platform === 'linux' && findSystemDrivers().length === 0) return undefined;
  await useSystemDrivers();
  const gpu = keepForever(dawn.create([EXPERIMENTAL]));
  const adapter = await firstAdapter(gpu);
  return adapter && !isSoftware(adapter) ? { gpu, name: 'hardware' } : undefined;
}

async function openAuto(dawn: Dawn): Promise<OpenedGpu> {
  const hardware = await openHardware(dawn);
  if (hardware) return hardware;
  try {
    return await openGpu({ adapter: 'lavapipe' });
  } catch (first) {
    // Where lavapipe cannot be had, a browser's SwiftShader may still lie about.
    return openGpu({ adapter: 'swiftshader' }).catch(() => {
      throw first;
    });
  }
}

async function open(choice: AdapterChoice): Promise<OpenedGpu> {
  const dawn = await loadDawn();
  await installGlobals();
  if (choice === 'auto') return openAuto(dawn);
  if (choice === 'lavapipe' || choice === 'swiftshader') return openSoftware(choice as SoftwareAdapter, dawn);
  if (choice === 'null') return { gpu: keepForever(dawn.create(['backend=null'])), name: 'null' };
  if (choice === 'hardware') {
    const hardware = await openHardware(dawn);
    if (hardware) return hardware;
    throw new AdapterError('openGpu: no hardware adapter found; install its Vulkan driver, or ask for adapter "auto"');
  }
  if (process.platform !== 'linux' || findSystemDrivers().length > 0) {
    await useSystemDrivers();
    const gpu = keepForever(dawn.create([`adapter=${choice}`, EXPERIMENTAL]));
    if (await firstAdapter(gpu)) return { gpu, name: choice };
  }
  throw new AdapterError(
    `openGpu: expected adapter auto, hardware, lavapipe, swiftshader, null or part of a device name, got "${choice}", ` +
      'which matches none; run: npx daguerre doctor',
  );
}

/**
 * Opens WebGPU in Node through Dawn. A real GPU is used where there is one; else a software adapter, which is fetched
 * into the cache folder if it is missing (`DAGUERRE_NO_FETCH=1` forbids that).
 * Dawn's event loop never drains: a program ends by `process.exit`.
 * @param options.adapter default `DAGUERRE_ADAPTER`, else `auto`.
 * @throws AdapterError where there is none, naming the command that would help.
 */
export function openGpu(options: { adapter?: AdapterChoice } = {}): Promise<OpenedGpu> {
  const choice = options.adapter ?? (process.env.DAGUERRE_ADAPTER || 'auto');
  const { opened } = keeper();
  let result = opened.get(choice);
  if (!result) {
    result = open(choice);
    opened.set(choice, result);
    result.catch(() => opened.delete(choice)); // the next call may find what was missing
  }
  return result;
}
