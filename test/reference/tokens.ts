/** Naive f64 truth of what transformers do to tokens: rotary positions, patches back to pictures. */

/** x [B,T,heads,d], angles [T,d/2] → pairs turned by their token's angle. */
export function ropeReference(
  x: ArrayLike<number>,
  [B, T, heads, d]: readonly number[],
  cos: (t: number, pair: number) => number,
  sin: (t: number, pair: number) => number,
): Float64Array {
  const out = new Float64Array(B * T * heads * d);
  for (let row = 0; row < B * T * heads; row++) {
    const t = Math.floor(row / heads) % T;
    for (let i = 0; i < d / 2; i++) {
      const [re, im] = [x[row * d + 2 * i], x[row * d + 2 * i + 1]];
      out[row * d + 2 * i] = re * cos(t, i) - im * sin(t, i);
      out[row * d + 2 * i + 1] = im * cos(t, i) + re * sin(t, i);
    }
  }
  return out;
}

/**
 * tokens [B,rows·columns,patch²·C] → [B,C,rows·patch,columns·patch]; a token holds [patch,patch,C] or [C,patch,patch].
 */
export function unpatchifyReference(
  tokens: ArrayLike<number>,
  { B, C, rows, columns, patch }: { B: number; C: number; rows: number; columns: number; patch: number },
  order: 'pixels' | 'channels',
): Float64Array {
  const out = new Float64Array(tokens.length);
  let at = 0;
  const ranges = order === 'pixels' ? [patch, patch, C] : [C, patch, patch];
  for (let b = 0; b < B; b++)
    for (let r = 0; r < rows; r++)
      for (let s = 0; s < columns; s++)
        for (let i = 0; i < ranges[0]; i++)
          for (let j = 0; j < ranges[1]; j++)
            for (let k = 0; k < ranges[2]; k++) {
              const [y, x, c] = order === 'pixels' ? [i, j, k] : [j, k, i];
              const row = r * patch + y;
              out[((b * C + c) * rows * patch + row) * columns * patch + s * patch + x] = tokens[at++];
            }
  return out;
}
