/**
 * Turns `import shader from './NAME.wgsl'` into a ShaderSource when building: comments stripped, the modules it names
 * (`//@use storage activation`) inlined, bindings and uniform layout found by reflection. One plugin serves the
 * library, the demo, the bench and vitest.
 */
import { readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Plugin } from 'vite';
import { WgslReflect } from 'wgsl_reflect/wgsl_reflect.module.js';

const STORAGE = ['f32', 'f16', 'packed'] as const;

/** The code without comments, blank lines, indentation, and spaces that separate nothing. */
export function stripWgsl(code: string): string {
  return code
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\/\/.*$/gm, '')
    .split('\n')
    .map((line) => line.trim().replace(/\s*([{}(),;:=])\s*/g, '$1'))
    .filter(Boolean)
    .join('\n');
}

interface ReflectedType {
  name: string;
  members?: { name: string; offset: number; size: number; type: ReflectedType }[];
  format?: ReflectedType | null;
  size: number;
}

/** Everything the engine wants to know about one .wgsl file. */
export function reflectShader(file: string) {
  const text = readFileSync(file, 'utf8');
  const code = stripWgsl(text);
  const uses = [...text.matchAll(/^\/\/@use (.*)$/gm)].flatMap((m) => m[1].trim().split(/\s+/));
  const folder = join(dirname(file), 'modules');
  const module = (name: string) => join(folder, `${name}.wgsl`);
  const usesStorage = uses.includes('storage');
  const fixed = uses.filter((name) => name !== 'storage');
  const whole = [...(usesStorage ? ['storage.f32'] : []), ...fixed]
    .map((name) => stripWgsl(readFileSync(module(name), 'utf8')))
    .concat(code)
    .join('\n');
  let reflected;
  try {
    const plain = whole.replace(/^(enable|requires)\b.*$/gm, '');
    reflected = new WgslReflect(/subgroup_matrix/.test(plain) ? withoutMatrices(plain) : plain);
  } catch (error) {
    throw new Error(`${basename(file)}: ${String((error as Error).message ?? error)}`, { cause: error });
  }
  const groups = reflected.getBindGroups()[0] ?? [];
  const bindings = groups.filter(Boolean).map((v) => ({
    name: v.name,
    binding: v.binding,
    access: v.resourceType === 0 ? 'uniform' : v.access === 'read_write' ? 'write' : 'read',
    element: elementOf(code, v.name),
  }));
  const uniform = groups.filter(Boolean).find((v) => v.resourceType === 0);
  const members = (uniform?.type as ReflectedType | undefined)?.members ?? [];
  const params = members.map((m) => {
    const lanes = /^vec([234])/.exec(m.type.name)?.[1];
    const scalar = m.type.format?.name ?? /^vec[234]([iuf])$/.exec(m.type.name)?.[1] ?? m.type.name;
    const type = ({ i: 'i32', u: 'u32', f: 'f32' } as Record<string, string>)[scalar] ?? scalar;
    return { name: m.name, type, offset: m.offset, lanes: lanes ? Number(lanes) : 1 };
  });
  const consts: Record<string, string> = {};
  for (const m of code.matchAll(/^const (\w+)[^=]*=\s*([^;]+);/gm)) {
    if (/^(true|false|-?[\d.]+(e-?\d+)?[uf]?)$/.test(m[2])) consts[m[1]] = m[2];
  }
  return {
    info: {
      name: basename(file, '.wgsl'),
      code,
      bindings,
      params,
      paramsSize: uniform?.size ?? 0,
      consts,
    },
    modulePaths: Object.fromEntries(fixed.map((name) => [name, module(name)])),
    storagePaths: usesStorage ? Object.fromEntries(STORAGE.map((s) => [s, module(`storage.${s}`)])) : undefined,
  };
}

/** Without function bodies and the types of subgroup matrices, which the reflection does not know. */
function withoutMatrices(code: string): string {
  const plain = code.replace(/^alias \w+=subgroup_matrix.*$/gm, '');
  let out = '';
  for (let at = 0; at < plain.length;) {
    const fn = /(^|\n)(@compute[^\n]*\n)?fn [^{]*\{/g;
    fn.lastIndex = at;
    const head = fn.exec(plain);
    if (!head) return out + plain.slice(at);
    out += `${plain.slice(at, fn.lastIndex)}}`;
    at = fn.lastIndex;
    for (let depth = 1; depth > 0 && at < plain.length; at++) depth += { '{': 1, '}': -1 }[plain[at]] ?? 0;
  }
  return out;
}

function elementOf(code: string, name: string): string {
  return new RegExp(`var<[^>]*>\\s*${name}\\s*:\\s*(?:array<(.+?)>)?\\s*;`).exec(code)?.[1] ?? '';
}

export function wgslPlugin(): Plugin {
  return {
    name: 'daguerre-wgsl',
    enforce: 'pre',
    load(id) {
      if (!id.endsWith('.wgsl')) return null;
      this.addWatchFile(id);
      if (basename(dirname(id)) === 'modules') {
        return `export default ${JSON.stringify(stripWgsl(readFileSync(id, 'utf8')))};`;
      }
      const { info, modulePaths, storagePaths } = reflectShader(id);
      const imports: string[] = [];
      const object = (paths: Record<string, string>) =>
        `{${Object.entries(paths)
          .map(([name, path]) => {
            imports.push(`import m${imports.length} from ${JSON.stringify(path)};`);
            return `${JSON.stringify(name)}: m${imports.length - 1}`;
          })
          .join(', ')}}`;
      const modules = object(modulePaths);
      const storage = storagePaths ? object(storagePaths) : 'undefined';
      return `${imports.join('\n')}\nexport default {...${JSON.stringify(info)}, modules: ${modules}, storage: ${storage}};`;
    },
  };
}
