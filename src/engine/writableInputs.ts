/**
 * Dispatches that read an arena that they write. All uses of a buffer in one dispatch must be of one kind: either
 * everything in it is read only, or everything is bound for writing and the ranges are apart (WebGPU, "usage scope" and
 * "writable storage buffer binding aliasing"). So what such a dispatch reads there is declared `read_write`, though
 * nothing writes it.
 */
import { rootOf } from './graph.ts';
import type { Kernel } from './kernel.ts';
import type { Dispatch } from './lower.ts';
import type { MemoryPlan } from './plan.ts';
import type { ShaderSource } from './shader.ts';

/** The dispatches, with inputs bound for writing where the plan has put one beside what is written. */
export function bindForWriting(dispatches: readonly Dispatch[], { places }: MemoryPlan): Dispatch[] {
  return dispatches.map((dispatch) => {
    const { kernel, bindings } = dispatch;
    const arenaOf = (name: string) => bindings[name] && places.get(rootOf(bindings[name]).id)?.arena;
    const written = new Set(kernel.shader.bindings.filter((b) => b.access === 'write').map((b) => arenaOf(b.name)));
    const beside = kernel.shader.bindings.filter(({ name, access }) => {
      const arena = access === 'read' ? arenaOf(name) : undefined;
      return arena !== undefined && written.has(arena);
    });
    return beside.length > 0
      ? {
          ...dispatch,
          kernel: withWritable(
            kernel,
            beside.map((b) => b.name),
          ),
        }
      : dispatch;
  });
}

const KNOWN = new WeakMap<Kernel, Map<string, Kernel>>();

/** The kernel with some of its inputs declared `read_write`; the same one for the same names. */
export function withWritable(kernel: Kernel, names: readonly string[]): Kernel {
  const known = KNOWN.get(kernel) ?? new Map<string, Kernel>();
  KNOWN.set(kernel, known);
  const key = names.join();
  const made = known.get(key) ?? { ...kernel, shader: declared(kernel.shader, names) };
  known.set(key, made);
  return made;
}

function declared(shader: ShaderSource, names: readonly string[]): ShaderSource {
  const pattern = new RegExp(`var<storage,\\s*read>\\s*(?=(${names.join('|')})\\b)`, 'g');
  const change = (code: string) => code.replace(pattern, 'var<storage,read_write> ');
  return {
    ...shader,
    code: change(shader.code),
    modules: Object.fromEntries(Object.entries(shader.modules).map(([name, code]) => [name, change(code)])),
    bindings: shader.bindings.map((b) => (names.includes(b.name) ? { ...b, access: 'write' } : b)),
  };
}
