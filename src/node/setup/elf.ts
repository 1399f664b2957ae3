import { closeSync, openSync, readSync } from 'node:fs';

const PT_LOAD = 1n;
const PT_DYNAMIC = 2n;
const DT_NEEDED = 1n;
const DT_STRTAB = 5n;
/** Longest library name that is read. */
const NAME_BYTES = 256;

interface Segment {
  offset: bigint;
  address: bigint;
  size: bigint;
}

/** Reads parts of a file: a compiler's library has a hundred megabytes, of which a few hundred bytes matter. */
function withReader<T>(file: string, work: (read: (at: bigint | number, size: bigint | number) => Buffer) => T): T {
  const handle = openSync(file, 'r');
  try {
    return work((at, size) => {
      const bytes = Buffer.alloc(Number(size));
      return bytes.subarray(0, readSync(handle, bytes, 0, bytes.length, Number(at)));
    });
  } finally {
    closeSync(handle);
  }
}

/** Names of the shared libraries that a 64-bit little-endian ELF file asks for; empty for any other file. */
export function neededLibraries(file: string): string[] {
  return withReader(file, (read) => {
    const header = read(0, 64);
    if (header.length < 64 || header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1) return [];
    const entrySize = header.readUInt16LE(54);
    const count = header.readUInt16LE(56);
    const table = read(header.readBigUInt64LE(32), entrySize * count);
    const loads: Segment[] = [];
    let dynamic: Segment | undefined;
    for (let at = 0; at < entrySize * count; at += entrySize) {
      const [offset, address, size] = [8, 16, 32].map((field) => table.readBigUInt64LE(at + field));
      const type = BigInt(table.readUInt32LE(at));
      if (type === PT_LOAD) loads.push({ offset, address, size });
      if (type === PT_DYNAMIC) dynamic = { offset, address, size };
    }
    if (!dynamic) return [];
    const entries = read(dynamic.offset, dynamic.size);
    const names: bigint[] = [];
    let strings = 0n;
    for (let at = 0; at + 16 <= entries.length; at += 16) {
      const tag = entries.readBigUInt64LE(at);
      const value = entries.readBigUInt64LE(at + 8);
      if (tag === 0n) break;
      if (tag === DT_NEEDED) names.push(value);
      if (tag === DT_STRTAB) strings = value;
    }
    const home = loads.find((l) => strings >= l.address && strings < l.address + l.size);
    if (!home) return [];
    const start = strings - home.address + home.offset;
    return names.map((name) => {
      const text = read(start + name, NAME_BYTES);
      return text.toString('latin1', 0, text.indexOf(0));
    });
  });
}
