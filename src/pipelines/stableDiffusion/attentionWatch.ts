/** Attention maps of chosen tokens, gathered while a run goes on. */
import { InvalidArgumentError } from '../../engine/index.ts';
import type { Tokenizer } from '../../loading/tokenizers/tokenizer.ts';
import type { AttendedTokens } from '../../models/unetCondition/attentionMaps.ts';
import type { UNet2DCondition } from '../../models/unetCondition/unetConditionModel.ts';
import type { AttentionMap, AttentionMapOptions } from '../options/attentionMaps.ts';

/** What a run is watched with. */
export interface AttentionWatchSetting {
  unet: UNet2DCondition;
  /** Per picture, several of one prompt behind each other; undefined where embeddings were given. */
  prompts: readonly string[] | undefined;
  /** Pictures. */
  batch: number;
  tokenizer: Tokenizer | undefined;
  /** Tokens of the context. */
  tokens: number;
}

interface Found {
  image: number;
  token: string | number;
  positions: readonly number[];
  /** Which of the picture's channels. */
  channels: readonly number[];
}

/** Stands in for the U-Net of a run and remembers where its conditional half looked. */
export class AttentionWatch {
  /** What the run calls in place of the U-Net. */
  readonly unet: UNet2DCondition;
  private readonly sums = new Map<string, { data: Float64Array; height: number; width: number }>();
  private evaluations = 0;
  private watched = 0;
  /** All maps so far, added up. */
  private seen: Promise<void> = Promise.resolve();

  private constructor(
    inner: UNet2DCondition,
    private readonly found: readonly Found[],
    private readonly perPicture: AttendedTokens,
    private readonly every: number,
  ) {
    const forward: UNet2DCondition['forward'] = async (call) => {
      if (this.evaluations++ % this.every !== 0) return inner.forward(call);
      const B = this.perPicture.length;
      const parts = call.sample.shape[0] / B;
      const tokens = Array.from({ length: parts }, () => this.perPicture).flat();
      const { out, maps } = await inner.attend({ ...call, tokens });
      // Asked for at once and not waited for: what the network wrote lies where its next call, of any run, writes.
      const values = Promise.all(maps.map((map) => map.read()));
      const before = this.seen;
      this.seen = (async () => {
        const [read] = await Promise.all([values, before]);
        // Of two halves the second has the prompt; of three parts, which edit, the first.
        maps.forEach((map, i) => this.add(read[i], map.shape, parts === 2 ? B : 0));
        this.watched++;
      })();
      this.seen.catch(() => undefined); // maps() tells
      return out;
    };
    this.unet = Object.create(inner, { forward: { value: forward } }) as UNet2DCondition;
  }

  /**
   * @throws InvalidArgumentError for a word that is in no prompt, a place beyond the context, or words without
   * tokenizer
   */
  static open(options: AttentionMapOptions, { unet, prompts, batch, tokenizer, tokens: S }: AttentionWatchSetting) {
    const { tokens, every = 1 } = options;
    if (!Array.isArray(tokens) || tokens.length === 0 || !Number.isInteger(every) || every < 1) {
      throw new InvalidArgumentError(
        `attentionMaps: expected tokens, and every to be an integer ≥ 1, got ${JSON.stringify(options)}`,
      );
    }
    const perPicture: number[][] = Array.from({ length: batch }, () => []);
    const found: Found[] = [];
    for (const token of tokens as readonly (string | number)[]) {
      const places = placesOf(token, { prompts, batch, tokenizer, S });
      if (places.every((list) => list.length === 0)) {
        throw new InvalidArgumentError(
          `attentionMaps: expected a word of the prompt, got ${JSON.stringify(token)}, which stands in none; what is ` +
            `beyond ${S} tokens is left out`,
        );
      }
      places.forEach((positions, image) => {
        if (positions.length === 0) return;
        const channels = positions.map((position) => perPicture[image].push(position) - 1);
        found.push({ image, token, positions, channels });
      });
    }
    const n = Math.max(...perPicture.map((row) => row.length));
    for (const row of perPicture) while (row.length < n) row.push(0);
    return new AttentionWatch(unet, found, perPicture, every);
  }

  /** What has been seen, in pictures of that size. @throws DeviceLostError */
  async maps(width: number, height: number): Promise<AttentionMap[]> {
    await this.seen;
    const n = this.perPicture[0].length;
    return this.found.map(({ image, token, positions, channels }) => {
      const data = new Float32Array(width * height);
      for (const { data: sum, height: h, width: w } of this.sums.values()) {
        const mean = Float64Array.from({ length: h * w }, (_, i) =>
          channels.reduce((all, c) => all + sum[(image * n + c) * h * w + i], 0),
        );
        const scale = 1 / (channels.length * this.watched);
        enlarge(mean, h, w, height, width, (i, value) => (data[i] += scale * value));
      }
      return { image, token, positions, width, height, data };
    });
  }

  private add(values: Float32Array, [, n, height, width]: readonly number[], first: number): void {
    const item = n * height * width;
    const size = `${height} ${width}`;
    const sum = this.sums.get(size) ?? { data: new Float64Array(this.perPicture.length * item), height, width };
    this.sums.set(size, sum);
    sum.data.forEach((v, i) => (sum.data[i] = v + values[first * item + i]));
  }
}

/** Where a token stands, per picture. */
function placesOf(
  token: string | number,
  { prompts, batch, tokenizer, S }: Pick<AttentionWatchSetting, 'prompts' | 'batch' | 'tokenizer'> & { S: number },
): number[][] {
  if (typeof token === 'number') {
    if (Number.isInteger(token) && token >= 0 && token < S) return Array.from({ length: batch }, () => [token]);
    throw new InvalidArgumentError(`attentionMaps: expected a place of 0 … ${S - 1}, got ${token}`);
  }
  if (!prompts || !tokenizer) {
    throw new InvalidArgumentError(
      `attentionMaps: expected places among the tokens, 0 … ${S - 1}, since there is no prompt to find words in, got ` +
        JSON.stringify(token),
    );
  }
  const rows = (texts: string | readonly string[]) => {
    const { inputIds } = tokenizer.encode(texts, { padding: 'longest' });
    const [N, length] = inputIds.shape;
    return Array.from({ length: N }, (_, i) => [...inputIds.data.slice(i * length, (i + 1) * length)]);
  };
  // What the tokenizer puts around every text is what it makes of none.
  const [[around], [whole]] = [rows(''), rows(token)];
  let before = 0;
  while (before < around.length && around[before] === whole[before]) before++;
  const word = whole.slice(before, whole.length - (around.length - before));
  if (word.length === 0) return Array.from({ length: batch }, () => []);
  return rows(prompts).map((ids) => {
    const starts = ids.flatMap((_, i) => (word.every((id, j) => ids[i + j] === id) ? [i] : []));
    return starts.flatMap((i) => word.map((_, j) => i + j)).filter((i) => i < S);
  });
}

/** Bilinear, pixels taken at their centres; calls `put` once for each of height × width. */
function enlarge(
  map: ArrayLike<number>,
  h: number,
  w: number,
  height: number,
  width: number,
  put: (i: number, value: number) => void,
): void {
  const at = (i: number, from: number, to: number) => {
    const x = Math.min(from - 1, Math.max(0, ((i + 0.5) * from) / to - 0.5));
    const low = Math.floor(x);
    return { low, high: Math.min(low + 1, from - 1), part: x - low };
  };
  for (let i = 0; i < height; i++) {
    const y = at(i, h, height);
    for (let j = 0; j < width; j++) {
      const x = at(j, w, width);
      const row = (r: number) => map[r * w + x.low] * (1 - x.part) + map[r * w + x.high] * x.part;
      put(i * width + j, row(y.low) * (1 - y.part) + row(y.high) * y.part);
    }
  }
}
