/** The weights of an exported graph: not kept with it, for they are seeded and large, but made when they are wanted. */
import { closeSync, existsSync, openSync, readFileSync, renameSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { seededWeight } from '../seeded.ts';

/** What peers/export.py says of a graph's file of weights. */
export interface GraphWeights {
  /** Of the whole file. */
  bytes: number;
  parts: readonly {
    key: string;
    /** As in the checkpoint; the exporter may have folded a transposition of two dimensions in. */
    shape: readonly number[];
    transposed: boolean;
    offset: number;
    bytes: number;
  }[];
}

/** Makes FOLDER/VARIANT.bin unless it is there. @returns its name */
export function makeGraphWeights(folder: string, variant: string): string {
  const file = join(folder, `${variant}.bin`);
  const description = join(folder, `${variant}.json`);
  // Older than its description it may belong to another export.
  if (existsSync(file) && statSync(file).mtimeMs >= statSync(description).mtimeMs) return file;
  const { parts } = JSON.parse(readFileSync(description, 'utf8')) as GraphWeights;
  const partial = `${file}.${process.pid}.part`;
  const handle = openSync(partial, 'w');
  try {
    for (const { key, shape, transposed, offset } of parts) {
      const weight = seededWeight(key, shape);
      const data = transposed ? transpose(weight, shape[0], shape[1]) : weight;
      writeSync(handle, new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 0, data.byteLength, offset);
    }
  } finally {
    closeSync(handle);
  }
  renameSync(partial, file);
  return file;
}

/** [rows,columns] → [columns,rows] */
export function transpose(x: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(x.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = x[r * columns + c];
  return out;
}
