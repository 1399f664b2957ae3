/**
 * The Mersenne Twister MT19937 with 32-bit seeding: Matsumoto & Nishimura 1998, ACM TOMACS 8(1), and their 2002
 * initialisation. The integer stream under PyTorch's CPU generator.
 */
const N = 624;
const M = 397;
const UPPER = 0x80000000;
const LOWER = 0x7fffffff;
const TWIST = 0x9908b0df;

export class Mt19937 {
  private words = new Uint32Array(N);
  /** Words used of the current block; N means that the next draw makes a new one. */
  private used = N;

  /** Only the low 32 bits of the seed count. */
  constructor(seed: number) {
    this.words[0] = seed;
    for (let j = 1; j < N; j++) {
      const before = this.words[j - 1];
      this.words[j] = Math.imul(1812433253, before ^ (before >>> 30)) + j;
    }
  }

  /** The next integer, 0 … 2³² − 1. */
  next(): number {
    if (this.used >= N) this.refill();
    let y = this.words[this.used++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return y >>> 0;
  }

  private refill(): void {
    const w = this.words;
    for (let j = 0; j < N; j++) {
      const mixed = (w[j] & UPPER) | (w[(j + 1) % N] & LOWER);
      w[j] = w[(j + M) % N] ^ (mixed >>> 1) ^ (mixed & 1 ? TWIST : 0);
    }
    this.used = 0;
  }

  /** A copy of the 624 words and the position in them. */
  get state(): { words: number[]; used: number } {
    return { words: [...this.words], used: this.used };
  }

  set state({ words, used }: { words: readonly number[]; used: number }) {
    this.words = Uint32Array.from(words);
    this.used = used;
  }
}
