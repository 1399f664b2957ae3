import { readFileSync } from 'node:fs';

const PT_LOAD = 1n;
const PT_DYNAMIC = 2n;
const DT_NEEDED = 1n;
const DT_STRTAB = 5n;

/** Names of the shared libraries that a 64-bit little-endian ELF file asks for; empty for any other file. */
export function neededLibraries(file: string): string[] {
  const bytes = readFileSync(file);
  if (bytes.length < 64 || bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1) return [];
  const u64 = (at: number) => bytes.readBigUInt64LE(at);
  const loads: { address: bigint; offset: bigint; size: bigint }[] = [];
  let dynamic: { offset: bigint; size: bigint } | undefined;
  const first = Number(u64(32));
  for (let i = 0; i < bytes.readUInt16LE(56); i++) {
    const at = first + i * bytes.readUInt16LE(54);
    const type = BigInt(bytes.readUInt32LE(at));
    const segment = { offset: u64(at + 8), address: u64(at + 16), size: u64(at + 32) };
    if (type === PT_LOAD) loads.push(segment);
    if (type === PT_DYNAMIC) dynamic = segment;
  }
  if (!dynamic) return [];
  const names: bigint[] = [];
  let strings = 0n;
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += 16n) {
    const tag = u64(Number(at));
    const value = u64(Number(at) + 8);
    if (tag === 0n) break;
    if (tag === DT_NEEDED) names.push(value);
    if (tag === DT_STRTAB) strings = value;
  }
  const home = loads.find((l) => strings >= l.address && strings < l.address + l.size);
  if (!home) return [];
  const table = Number(strings - home.address + home.offset);
  return names.map((name) => {
    const start = table + Number(name);
    return bytes.toString('latin1', start, bytes.indexOf(0, start));
  });
}
