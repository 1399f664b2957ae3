/**
 * Philox4x32-10, a random number generator without a state: four 32-bit words of a counter, enciphered with a key of
 * two. Salmon et al. 2011 (Parallel Random Numbers: As Easy as 1, 2, 3), section 3.3.
 */

const [M0, M1] = [0xd2511f53, 0xcd9e8d57];
const [W0, W1] = [0x9e3779b9, 0xbb67ae85];
const ROUNDS = 10;

/** The high word of a product of two words; its low word is Math.imul. */
function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const other = aLow * bHigh + (middle & 0xffff);
  return aHigh * bHigh + (middle >>> 16) + (other >>> 16);
}

/**
 * Enciphers the four words of `counter` in place.
 * @param low first word of the key
 * @param high second word of the key
 */
export function philox(counter: Uint32Array, low: number, high: number): void {
  let a = counter[0];
  let b = counter[1];
  let c = counter[2];
  let d = counter[3];
  for (let round = 0; round < ROUNDS; round++) {
    const next = mulHigh(M1, c) ^ b ^ (low + round * W0);
    b = Math.imul(M1, c);
    c = mulHigh(M0, a) ^ d ^ (high + round * W1);
    d = Math.imul(M0, a);
    a = next;
  }
  counter[0] = a;
  counter[1] = b;
  counter[2] = c;
  counter[3] = d;
}
