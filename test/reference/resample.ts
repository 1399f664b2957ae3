/** Naive f64 truth of resampling; pictures [B,H,W,C]. */

export type Picture = { data: ArrayLike<number>; shape: readonly number[] };
export type Truth = { data: Float64Array; shape: number[] };

/** One value per output element. */
export function build(shape: number[], f: (b: number, y: number, x: number, c: number) => number): Truth {
  const [B, H, W, C] = shape;
  const data = new Float64Array(B * H * W * C);
  let i = 0;
  for (let b = 0; b < B; b++)
    for (let y = 0; y < H; y++) for (let x = 0; x < W; x++) for (let c = 0; c < C; c++) data[i++] = f(b, y, x, c);
  return { data, shape };
}

/** Reads a picture; zero outside. */
export function reader({ data, shape: [, H, W, C] }: Picture) {
  return (b: number, y: number, x: number, c: number) =>
    y < 0 || x < 0 || y >= H || x >= W ? 0 : data[((b * H + y) * W + x) * C + c];
}

export function upsampleNearestReference(x: Picture, height: number, width: number): Truth {
  const [B, H, W, C] = x.shape;
  const at = reader(x);
  return build([B, height, width, C], (b, i, j, c) =>
    at(b, Math.floor((i * H) / height), Math.floor((j * W) / width), c),
  );
}

export function avgPool2Reference(x: Picture): Truth {
  const [B, H, W, C] = x.shape;
  const at = reader(x);
  return build([B, H >> 1, W >> 1, C], (b, i, j, c) => {
    let sum = 0;
    for (const y of [2 * i, 2 * i + 1]) for (const z of [2 * j, 2 * j + 1]) sum += at(b, y, z, c);
    return sum / 4;
  });
}

/** upfirdn2d step by step: stretch, pad (or crop), convolve with the outer product of k, keep every down-th pixel. */
export function upfirdnReference(
  x: Picture,
  k: readonly number[],
  { up = 1, down = 1, pad = [0, 0] }: { up?: number; down?: number; pad?: [number, number] },
): Truth {
  const [B, H, W, C] = x.shape;
  const at = reader(x);
  const stretched = build([B, H * up, W * up, C], (b, i, j, c) => (i % up || j % up ? 0 : at(b, i / up, j / up, c)));
  const stretch = reader(stretched);
  const padded = build([B, H * up + pad[0] + pad[1], W * up + pad[0] + pad[1], C], (b, i, j, c) =>
    stretch(b, i - pad[0], j - pad[0], c),
  );
  const source = reader(padded);
  const n = k.length;
  const size = (length: number) => Math.floor((length - n) / down) + 1;
  return build([B, size(padded.shape[1]), size(padded.shape[2]), C], (b, i, j, c) => {
    let sum = 0;
    for (let y = 0; y < n; y++)
      for (let z = 0; z < n; z++) sum += k[n - 1 - y] * k[n - 1 - z] * source(b, i * down + y, j * down + z, c);
    return sum;
  });
}

/** Keys's cubic with a = −½, and the triangle. */
const FILTERS = {
  bicubic: (x: number) =>
    x < 1 ? 1.5 * x ** 3 - 2.5 * x ** 2 + 1 : x < 2 ? -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2 : 0,
  bilinear: (x: number) => Math.max(0, 1 - x),
};

/** Row i: the weights of all places of the input in place i of the output. */
export function antialiasWeights(from: number, to: number, filter: keyof typeof FILTERS): number[][] {
  const scale = Math.max(1, from / to);
  return Array.from({ length: to }, (_, i) => {
    const centre = ((i + 0.5) * from) / to;
    const row = Array.from({ length: from }, (_, j) => FILTERS[filter](Math.abs(j + 0.5 - centre) / scale));
    const sum = row.reduce((a, b) => a + b, 0);
    return row.map((w) => w / sum);
  });
}

/** Both axes at once. */
export function resizeAntialiasReference(
  x: Picture,
  height: number,
  width: number,
  filter: keyof typeof FILTERS,
): Truth {
  const [B, H, W, C] = x.shape;
  const at = reader(x);
  const [rows, columns] = [antialiasWeights(H, height, filter), antialiasWeights(W, width, filter)];
  return build([B, height, width, C], (b, i, j, c) => {
    let sum = 0;
    for (let y = 0; y < H; y++) for (let z = 0; z < W; z++) sum += rows[i][y] * columns[j][z] * at(b, y, z, c);
    return sum;
  });
}
