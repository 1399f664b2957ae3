/**
 * A shader as the build hands it over: WGSL without comments, the modules it names, and what reflection found in it.
 * Specialising rewrites only the right-hand sides of module-scope `const NAME = …;` lines, so that the file on disk
 * stays a complete shader that can be read and compiled as it is.
 */
import { InvalidArgumentError } from './errors.ts';

/** How `Elem4` is stored: f32; f16 with `shader-f16`; two halves to a u32 without it. */
export type StorageModule = 'f32' | 'f16' | 'packed';

/** One `var<storage>` or `var<uniform>` of a shader. */
export interface ShaderBinding {
  name: string;
  binding: number;
  access: 'read' | 'write' | 'uniform';
  /** The element type as written: `Elem4`, `vec4f`, `f32`, `u32`, `atomic<u32>` … */
  element: string;
}

/** One field of `struct Params`. */
export interface ShaderParam {
  name: string;
  type: 'u32' | 'i32' | 'f32';
  /** Bytes from the start of the struct. */
  offset: number;
  /** 1, or the number of lanes of a vector. */
  lanes: number;
}

/** What `import shader from './NAME.wgsl'` yields. */
export interface ShaderSource {
  name: string;
  code: string;
  /** Module code by name; `storage` is present in three forms. */
  modules: Record<string, string>;
  storage?: Record<StorageModule, string>;
  bindings: ShaderBinding[];
  params: ShaderParam[];
  /** Bytes of `struct Params`, 0 without one. */
  paramsSize: number;
  /** Names of the module-scope constants, with the literal each has in the file. */
  consts: Record<string, string>;
}

/** A tunable is a number or a switch. */
export type TunableValue = number | boolean;
/** Values of a shader's `const`s by name. */
export type Tunables = Readonly<Record<string, TunableValue>>;

/** Writes `value` in the literal form (`8u`, `1.0`, `true`) that `like` has. */
function literal(name: string, value: TunableValue, like: string): string {
  const kind = /^(true|false)$/.test(like) ? 'bool' : like.endsWith('u') ? 'u32' : /[.ef]/.test(like) ? 'f32' : 'i32';
  if ((kind === 'bool') !== (typeof value === 'boolean')) {
    throw new InvalidArgumentError(`specialise: ${name} is ${kind} (${like} in the file), got ${value}`);
  }
  if (kind === 'u32') return `${value}u`;
  if (kind === 'f32') return Number.isInteger(value) ? `${value}.0` : `${value}`;
  return `${value}`;
}

/**
 * The WGSL text for one choice of tunables and one storage module.
 * @throws InvalidArgumentError for a tunable that the file does not declare.
 */
export function specialise(shader: ShaderSource, storage: StorageModule, tunables: Tunables): string {
  let body = shader.code;
  for (const [name, value] of Object.entries(tunables)) {
    const like = shader.consts[name];
    if (like === undefined) {
      throw new InvalidArgumentError(
        `specialise: ${shader.name}.wgsl has no const ${name}; it has ${Object.keys(shader.consts).join(', ')}`,
      );
    }
    body = body.replace(
      new RegExp(`^(const ${name}\\b[^=]*=)[^;]*;`, 'm'),
      (_, head: string) => `${head} ${literal(name, value, like)};`,
    );
  }
  const parts = [...Object.values(shader.modules), body];
  if (shader.storage) parts.unshift(shader.storage[storage]);
  return hoistDirectives(parts.join('\n'));
}

/** `enable` and `requires` lines must stand before everything else; each is kept once. */
export function hoistDirectives(code: string): string {
  const directives = new Set<string>();
  const rest = code.replace(/^\s*(enable|requires|diagnostic)\b[^;]*;[ \t]*\n?/gm, (line) => {
    directives.add(line.trim());
    return '';
  });
  return [...directives, rest].join('\n');
}
