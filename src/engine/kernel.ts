/** Kernel declarations: a shader, the values its tunables may take, and the grid it wants. */
import { InvalidArgumentError } from './errors.ts';
import type { Capabilities } from './device.ts';
import type { ShaderSource, StorageModule, Tunables, TunableValue } from './shader.ts';

/** Values of `struct Params` by field; a list for a vector. */
export type Params = Readonly<Record<string, number | readonly number[]>>;

/** What a kernel declares beside its WGSL file. */
export interface KernelSpec {
  shader: ShaderSource;
  /** Every tunable with the values worth trying; the first is the default. Names are the `const`s of the file. */
  tunables: Readonly<Record<string, readonly TunableValue[]>>;
  /** Workgroups in x, y, z; each must stay within 65,535 (see {@link linearGrid}). */
  grid(params: Record<string, number>, tunables: Record<string, number>): [number, number, number];
  /** Combinations that can run; default: all. */
  valid?(tunables: Record<string, number>, caps: Capabilities): boolean;
}

/** One WGSL file with its declaration. */
export interface Kernel extends KernelSpec {
  readonly name: string;
}

/**
 * Declares a kernel and checks the declaration against the file.
 * @throws InvalidArgumentError when a tunable is no `const` of the shader.
 */
export function defineKernel(spec: KernelSpec): Kernel {
  const { shader } = spec;
  for (const [name, values] of Object.entries(spec.tunables)) {
    if (shader.consts[name] === undefined) {
      throw new InvalidArgumentError(`defineKernel: ${shader.name}.wgsl declares no const ${name}`);
    }
    if (values.length === 0) throw new InvalidArgumentError(`defineKernel: ${shader.name}: ${name} has no candidate`);
  }
  return { ...spec, name: shader.name };
}

/** The first candidate of every tunable. */
export function defaultTunables(kernel: Kernel): Tunables {
  return Object.fromEntries(Object.entries(kernel.tunables).map(([name, values]) => [name, values[0]]));
}

/** Every combination of tunable candidates that `valid` admits, the default first. */
export function tunableCombinations(kernel: Kernel, caps: Capabilities): Tunables[] {
  let all: Record<string, TunableValue>[] = [{}];
  for (const [name, values] of Object.entries(kernel.tunables)) {
    all = all.flatMap((t) => values.map((value) => ({ ...t, [name]: value })));
  }
  return all.filter((t) => kernel.valid?.(t as Record<string, number>, caps) ?? true);
}

/**
 * Uniform bytes of `struct Params`, laid out as reflection found it.
 * @throws InvalidArgumentError for a missing, surplus or non-finite parameter.
 */
export function packParams(shader: ShaderSource, params: Params): ArrayBuffer {
  const buffer = new ArrayBuffer(Math.ceil(shader.paramsSize / 16) * 16);
  const view = new DataView(buffer);
  for (const { name, type, offset, lanes } of shader.params) {
    const given = params[name];
    const values = typeof given === 'number' ? [given] : given;
    if (!values || values.length !== lanes || values.some((v) => typeof v !== 'number' || Number.isNaN(v))) {
      throw new InvalidArgumentError(`${shader.name}: Params.${name} expects ${lanes} × ${type}, got ${String(given)}`);
    }
    values.forEach((value, i) => {
      const at = offset + 4 * i;
      if (type === 'f32') view.setFloat32(at, value, true);
      else if (type === 'i32') view.setInt32(at, value, true);
      else view.setUint32(at, value, true);
    });
  }
  const surplus = Object.keys(params).find((name) => !shader.params.some((p) => p.name === name));
  if (surplus) throw new InvalidArgumentError(`${shader.name}: struct Params has no ${surplus}`);
  return buffer;
}

/** Workgroups per dimension that WebGPU allows everywhere. */
export const MAX_GROUPS = 65535;

/**
 * A grid for `count` workgroups in a row, folded into y beyond 65,535. The shader recovers the index as
 * `workgroup_id.x + workgroup_id.y * num_workgroups.x` and must check its bound, since the fold overshoots.
 */
export function linearGrid(count: number): [number, number, number] {
  if (count <= MAX_GROUPS) return [Math.max(1, count), 1, 1];
  const y = Math.ceil(count / MAX_GROUPS);
  return [Math.ceil(count / y), y, 1];
}

/** Which storage module a dtype takes on this device. */
export function storageModule(dtype: 'f32' | 'f16', caps: { f16: boolean }): StorageModule {
  return dtype === 'f32' ? 'f32' : caps.f16 ? 'f16' : 'packed';
}
