/** Seeds as PyTorch takes them. */
import { InvalidArgumentError } from '../../engine/errors.ts';

/**
 * The seed as 64 bits, 0 … 2⁶⁴ − 1.
 * @throws InvalidArgumentError unless a safe integer, or a bigint in −2⁶³ … 2⁶⁴ − 1
 */
export function parseSeed(seed: number | bigint): bigint {
  const ok = typeof seed === 'bigint' ? seed >= -(2n ** 63n) && seed < 2n ** 64n : Number.isSafeInteger(seed);
  if (!ok)
    throw new InvalidArgumentError(
      `generator: expected a seed that is a safe integer, or a bigint in −2⁶³ … 2⁶⁴ − 1, got ${seed}`,
    );
  return BigInt.asUintN(64, BigInt(seed));
}
