/** As much of the protocol buffers' wire format as it takes to write a model: fields in order, lengths in front. */

const VARINT = 0;
const BYTES = 2;
const FIXED32 = 5;

/** Collects the fields of one message. Fields that are not given are not written. */
export class Message {
  private readonly parts: Uint8Array[] = [];

  /** A whole number, negative ones in ten bytes as the format has it. */
  int(field: number, value: number | bigint): this {
    return this.push(tag(field, VARINT), varint(BigInt(value)));
  }

  ints(field: number, values: readonly number[]): this {
    for (const value of values) this.int(field, value);
    return this;
  }

  float(field: number, value: number): this {
    return this.push(tag(field, FIXED32), new Uint8Array(Float32Array.of(value).buffer));
  }

  text(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value));
  }

  bytes(field: number, value: Uint8Array): this {
    return this.push(tag(field, BYTES), varint(BigInt(value.length)), value);
  }

  message(field: number, value: Message): this {
    return this.bytes(field, value.finish());
  }

  finish(): Uint8Array<ArrayBuffer> {
    const out = new Uint8Array(this.parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of this.parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }

  private push(...parts: Uint8Array[]): this {
    this.parts.push(...parts);
    return this;
  }
}

const tag = (field: number, wire: number) => varint(BigInt((field << 3) | wire));

function varint(value: bigint): Uint8Array {
  let rest = BigInt.asUintN(64, value);
  const bytes: number[] = [];
  do {
    const more = rest > 0x7fn;
    bytes.push(Number(rest & 0x7fn) | (more ? 0x80 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return Uint8Array.from(bytes);
}
