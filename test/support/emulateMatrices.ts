/**
 * Subgroup matrices where there are none: the complete WGSL of a kernel, with its bindings, workgroup, barriers and
 * control flow as they are, but matrices in plain variables, of the sizes MM, MN and MK that the kernel declares. Of a
 * result, each lane of a subgroup holds eight elements, in an order of its own, so that nobody can count on one; what
 * is multiplied stays where it is, and must do so: a barrier between load and product spoils it. A lane reads and
 * writes workgroup memory for itself, when its subgroup would. lavapipe runs the lanes of a workgroup eight at a time
 * from barrier to barrier: where one is missing, some read what has not been written yet, or what is written already
 * for the next round.
 *
 * What Vulkan asks of places in memory (16 bytes) is checked, and so is that the array holds them: else sums become
 * numbers that no test can take for right.
 */
import type { Device, DeviceOptions } from '../../src/engine/index.ts';
import { inWidth, matrixChoices, type MatrixChoice, type MatrixForm } from '../../src/engine/subgroupMatrices.ts';
import { openDevice } from './runGraph.ts';

const FEATURE = /\n?enable chromium_experimental_subgroup_matrix;|\n?diagnostic\(off,\s*chromium\.[\w.]+\);/g;

/** The text of a kernel, without subgroup matrices; a kernel that has none as it is. */
export function emulateMatrices(code: string): string {
  if (!code.includes('chromium_experimental_subgroup_matrix')) return code;
  const arrays = new Set<string>();
  const known = (array: string) => [...arrays.add(array)].indexOf(array);
  let out = code
    .replace(FEATURE, '')
    .replace(/alias (\w+)\s*=\s*subgroup_matrix_(?:left<f16,\s*MK,\s*MM>|right<f16,\s*MN,\s*MK>);/g, 'alias $1=Lying;')
    .replace(/alias (\w+)\s*=\s*subgroup_matrix_result<f32,\s*MN,\s*MM>;/g, 'alias $1=Share;')
    .replace(
      /subgroupMatrixLoad<(Left|Right),\s*(row|col)_major>\(&(\w+),/g,
      (_, side: string, major: string, array: string) => {
        return `lying(${known(array)}u,${side === 'Left'},${major === 'col'},`;
      },
    )
    .replace(/subgroupMatrixStore<(row|col)_major>\(&(\w+),/g, (_, major: string, array: string) => {
      return `store(${known(array)}u,${major === 'col'},`;
    })
    .replace(/subgroupMatrixMultiplyAccumulate\(/g, 'multiplyAccumulate(')
    .replace(/workgroupBarrier\(\);/g, 'workgroupBarrier(); barriers++;');
  // Without shader-f16, halves come as they are stored.
  if (/alias Elem4\s*=\s*vec2<u32>/.test(out)) out = out.replace(/bitcast<vec2<u32>>\(vec4<f16>\((\w+)\)\)/g, '$1');
  if (out.match(/\bf16\b/g)?.length === 1) out = out.replace(/enable f16;/, '');
  const rest = /subgroup_?matrix\w*/i.exec(out);
  if (rest) throw new Error(`emulateMatrices: ${rest[0]} is not known`);
  const lane = /@builtin\(local_invocation_index\)\s*(\w+)\s*:\s*u32/.exec(out)![1];
  const buffer = /var<storage[^>]*>\s*(\w+)\s*:\s*array</.exec(out)![1];
  const begin = `matrixLane = ${lane} % SG; none = arrayLength(&${buffer}) >> 31u;`;
  out = out.replace(/fn main\([\s\S]*?\)\s*\{/, (head) => `${head}\n${begin}`);
  const words = [...arrays].map((array) => wordsOf(out, array));
  return [out, MATRICES, choose('readWord', '', '-> u32 ', words), choose('writeWord', ', v: u32', '', words)]
    .concat(
      `fn endOf(array: u32) -> u32 { ${words.map((w, i) => `if (array == ${i}u) { return ${w.end}; }`).join(' ')} return 0u; }`,
    )
    .concat(
      `fn wordsOf(array: u32) -> u32 { ${words.map((w, i) => `if (array == ${i}u) { return ${w.words}u; }`).join(' ')} return 0u; }`,
    )
    .join('\n');
}

/** `none` is 0 and the compiler cannot know: a driver that unrolls all these loops takes a minute. */
const MATRICES = `
var<private> matrixLane: u32;
var<private> barriers: u32;
var<private> none: u32;
struct Lying { array: u32, columns: bool, at: u32, step: u32, since: u32, right: bool }
fn fits(array: u32, offset: u32, stride: u32, lines: u32, words: u32) -> bool {
  let unit = wordsOf(array);
  return offset * unit % 4u == 0u && stride * unit % 4u == 0u && stride * unit >= words &&
    (offset + (lines - 1u) * stride) * unit + words <= endOf(array);
}
fn lying(array: u32, left: bool, columns: bool, offset: u32, stride: u32) -> Lying {
  let unit = wordsOf(array);
  let rows = select(MK, MM, left);
  let across = select(MN, MK, left);
  let right = fits(array, offset, stride, select(rows, across, columns), select(across, rows, columns) / 2u);
  return Lying(array, columns, offset * unit, stride * unit, barriers, right);
}
fn element(m: Lying, row: u32, column: u32) -> f32 {
  let line = select(row, column, m.columns);
  let along = select(column, row, m.columns);
  return unpack2x16float(readWord(m.array, m.at + line * m.step + along / 2u))[along % 2u];
}
fn rowOfShare() -> u32 { return (matrixLane * 5u + 3u) % MM; }
fn columnOfShare(i: u32) -> u32 { return matrixLane / MM * 8u + (i ^ 5u); }
struct Share { low: vec4<f32>, high: vec4<f32> }
fn only(i: u32) -> Share {
  return Share(vec4<f32>(vec4<u32>(i) == vec4<u32>(0u, 1u, 2u, 3u)), vec4<f32>(vec4<u32>(i) == vec4<u32>(4u, 5u, 6u, 7u)));
}
fn multiplyAccumulate(a: Lying, b: Lying, c: Share) -> Share {
  var sums = c;
  for (var i = 0u; i < 8u + none; i++) {
    var sum = 0.0;
    for (var k = 0u; k < MK + none; k++) {
      sum = fma(element(a, rowOfShare(), k), element(b, k, columnOfShare(i)), sum);
    }
    sums.low += sum * only(i).low;
    sums.high += sum * only(i).high;
  }
  if (!a.right || !b.right || a.since != barriers || b.since != barriers) { sums.low.x = 3e9; }
  return sums;
}
fn store(array: u32, columns: bool, offset: u32, m: Share, stride: u32) {
  if (!fits(array, offset, stride, select(MM, MN, columns), select(MN, MM, columns))) { return; }
  for (var i = 0u; i < 8u + none; i++) {
    let line = select(rowOfShare(), columnOfShare(i), columns);
    let along = select(columnOfShare(i), rowOfShare(), columns);
    let sum = dot(m.low, only(i).low) + dot(m.high, only(i).high);
    writeWord(array, (offset + line * stride) * wordsOf(array) + along, bitcast<u32>(sum));
  }
}`;

interface Words {
  words: number;
  end: string;
  readWord: string;
  writeWord: string;
}

/** How to reach the words of an array of the workgroup. */
function wordsOf(code: string, array: string): Words {
  const declared = new RegExp(`var<workgroup>\\s*${array}\\s*:\\s*array<([^,]+),([^;]+)>;`).exec(code);
  const lanes = /^(?:vec([234])<)?(?:u32|f32)>?$/.exec(declared?.[1] ?? '');
  if (!lanes) throw new Error(`emulateMatrices: ${array} is no array of words of the workgroup`);
  const words = Number(lanes[1] ?? 1);
  const place = words === 1 ? `${array}[i]` : `${array}[i / ${words}u][i % ${words}u]`;
  const float = declared![1].includes('f32');
  return {
    words,
    end: `(${declared![2]}) * ${words}u`,
    readWord: `return ${float ? `bitcast<u32>(${place})` : place};`,
    writeWord: `${place} = ${float ? 'bitcast<f32>(v)' : 'v'};`,
  };
}

function choose(name: 'readWord' | 'writeWord', more: string, result: string, arrays: readonly Words[]): string {
  const cases = arrays.map((w, i) => `if (array == ${i}u) { ${w[name]} }`);
  return `fn ${name}(array: u32, i: u32${more}) ${result}{ ${cases.join(' ')} ${result && 'return 0u;'} }`;
}

/** A change to the text of kernels, to see that tests would see it. */
export interface Edit {
  name: string;
  apply: (code: string) => string;
}

/** The sizes of matrices that an adapter multiplies itself. */
export function formsOf({ gpu, info, matrixConfigs }: Device): MatrixChoice[] {
  return matrixChoices(info, matrixConfigs, gpu.features);
}

/**
 * A device that takes kernels with subgroup matrices, and is asked for them; otherwise as one that is a real card. An
 * adapter that has matrices of that form multiplies them itself, any other in their emulation.
 */
export async function openMatrixDevice(
  adapter: string,
  options: Omit<DeviceOptions, 'gpu'> = {},
  { form = '16x16x16', edit }: { form?: MatrixForm; edit?: Edit } = {},
): Promise<Device> {
  const device = await openDevice(adapter, { ...options, label: `subgroup matrices ${form} ${edit?.name ?? ''}` });
  if (!device.caps.matrices || device.caps.software) {
    const own = formsOf(device).find((choice) => choice.form === form);
    const plain = (code: string) => (own ? inWidth(code, own.width) : emulateMatrices(code));
    const create = device.gpu.createShaderModule.bind(device.gpu);
    device.gpu.createShaderModule = (d) => create({ ...d, code: plain(edit?.apply(d.code) ?? d.code) });
    Object.assign(device.caps, { matrices: form, software: false, subgroupSize: 0 });
  }
  return device;
}
