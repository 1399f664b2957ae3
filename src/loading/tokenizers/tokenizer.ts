/**
 * Prompts to the ids that text encoders take, by the kept library `@huggingface/tokenizers`, which is brought when the
 * first tokenizer is opened. Padding and truncation are those of transformers.
 */
import { FormatError, InvalidArgumentError, NotFoundError, UnsupportedError } from '../../engine/errors.ts';
import { joinPath, type Directory } from '../directory.ts';
import { isObject } from '../json.ts';
import { clipTokenizerJson } from './clipVocabulary.ts';
import { sentencePieceJson } from './sentencePiece.ts';

/** Told when a prompt is longer than the text encoder can take. */
export interface TruncationWarning {
  kind: 'truncated';
  /** Which prompt of the batch. */
  index: number;
  /** What is left out of it. */
  removed: string;
  /** Tokens that the text encoder takes, start and end included. */
  maxLength: number;
  message: string;
}

/** How prompts become ids. */
export interface TokenizeOptions {
  /** Most tokens, start and end included; default what the tokenizer says. */
  maxLength?: number;
  /**
   * To `maxLength`, as text encoders of diffusion models were trained; to the longest of the batch; default the first.
   */
  padding?: 'max_length' | 'longest';
  /** Told of every prompt that is cut; by default nobody is. */
  onWarning?: (warning: TruncationWarning) => void;
}

/** Ids and mask of a batch, row-major, [B,T]. */
export interface TokenizedPrompts {
  inputIds: { data: Uint32Array; shape: [number, number] };
  /** 1 for a token, 0 for padding. */
  attentionMask: { data: Uint32Array; shape: [number, number] };
}

/** What is used of the library. */
interface Library {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean }): string;
  token_to_id(token: string): number | undefined;
  get_vocab(withAdded?: boolean): Map<string, number>;
}

/** A model's tokenizer. */
export class Tokenizer {
  private readonly before: readonly number[];
  private readonly after: readonly number[];

  private constructor(
    private readonly library: Library,
    /** As its config says, e.g. `CLIPTokenizer`. */
    readonly className: string | undefined,
    /** Most tokens of a prompt, start and end included; undefined where the tokenizer sets no bound. */
    readonly maxLength: number | undefined,
    /** What fills up short prompts. */
    readonly padTokenId: number,
    /** Ids are below this. */
    readonly vocabSize: number,
  ) {
    [this.before, this.after] = around(library);
  }

  /**
   * Opens the tokenizer of a folder: `tokenizer.json`, or CLIP's `vocab.json` with `merges.txt`, or T5's
   * `spiece.model`; `tokenizer_config.json` and `special_tokens_map.json` beside it.
   * @throws NotFoundError when none is there, FormatError for files that are not what they say, UnsupportedError
   * without the library, NetworkError, AbortedError
   */
  static async open(directory: Directory, options: { signal?: AbortSignal } = {}): Promise<Tokenizer> {
    const { signal } = options;
    const optional = async (path: string): Promise<Record<string, unknown>> => {
      const json = (await directory.has(path, signal)) ? await directory.json(path, signal) : {};
      return isObject(json) ? json : {};
    };
    const map = await optional('special_tokens_map.json');
    const config: Record<string, unknown> = { ...map, ...(await optional('tokenizer_config.json')) };
    const json = await tokenizerJson(directory, config, signal);
    const specials = withSpecials(json, config);
    const library = await make(specials, config, directory.name);
    const text = (field: string) => contentOf(config[field]) ?? contentOf(map[field]);
    const pad = text('pad_token') ?? text('eos_token');
    const padTokenId = pad === undefined ? 0 : library.token_to_id(pad);
    if (padTokenId === undefined) {
      throw new FormatError(
        `tokenizer ${directory.name}: expected the pad token ${JSON.stringify(pad)} in the vocabulary, got none; the ` +
          'files are of different tokenizers',
      );
    }
    const max = config['model_max_length'];
    const bounded = typeof max === 'number' && max > 0 && max < 1e6 ? max : undefined;
    const className = typeof config['tokenizer_class'] === 'string' ? config['tokenizer_class'] : undefined;
    const vocabSize = 1 + [...library.get_vocab(true).values()].reduce((a, b) => Math.max(a, b), -1);
    return new Tokenizer(library, className, bounded, padTokenId, vocabSize);
  }

  /**
   * Prompts to ids, with the start and end that the tokenizer puts around them, all of one length. A prompt that is too
   * long keeps its beginning and its end token; `onWarning` is told what was left out.
   * @throws InvalidArgumentError for no prompt, one that is no string, or a bound that leaves no room; where the
   * tokenizer sets none, pad to the longest or give one.
   */
  encode(prompts: string | readonly string[], options: TokenizeOptions = {}): TokenizedPrompts {
    const texts = typeof prompts === 'string' ? [prompts] : prompts;
    const { maxLength = this.maxLength, padding = 'max_length', onWarning } = options;
    if (texts.length === 0 || texts.some((text) => typeof text !== 'string')) {
      throw new InvalidArgumentError(
        `tokenizer: expected one prompt or several, got ${JSON.stringify(prompts)}; pass strings`,
      );
    }
    const room = (maxLength ?? Infinity) - this.before.length - this.after.length;
    if (!(room >= 0) || (padding === 'max_length' && maxLength === undefined)) {
      throw new InvalidArgumentError(
        `tokenizer: expected a maxLength of at least ${this.before.length + this.after.length}, got ${maxLength}; ` +
          "give one, or padding: 'longest'",
      );
    }
    const rows = texts.map((text, index) => {
      const ids = this.library.encode(text, { add_special_tokens: false }).ids;
      if (ids.length > room) {
        const removed = this.library.decode(ids.slice(room), { skip_special_tokens: true });
        onWarning?.({
          kind: 'truncated',
          index,
          removed,
          maxLength: maxLength!,
          message:
            `prompt ${index}: expected at most ${maxLength} tokens, got ${ids.length - room} more; left out: ` +
            JSON.stringify(removed),
        });
      }
      return [...this.before, ...ids.slice(0, room), ...this.after];
    });
    const longest = rows.reduce((length, row) => Math.max(length, row.length), 1);
    const length = padding === 'longest' ? longest : maxLength!;
    const shape: [number, number] = [rows.length, length];
    const inputIds = new Uint32Array(rows.length * length).fill(this.padTokenId);
    const attentionMask = new Uint32Array(rows.length * length);
    rows.forEach((row, b) => {
      inputIds.set(row, b * length);
      attentionMask.fill(1, b * length, b * length + row.length);
    });
    return { inputIds: { data: inputIds, shape }, attentionMask: { data: attentionMask, shape } };
  }

  /** The text of ids, without start, end and padding. */
  decode(ids: ArrayLike<number>): string {
    return this.library.decode(Array.from(ids), { skip_special_tokens: true });
  }

  /** The id of a token as the vocabulary writes it; undefined for one that is not in it. */
  idOf(token: string): number | undefined {
    return this.library.token_to_id(token);
  }
}

/** What the files say, as one `tokenizer.json`. @throws NotFoundError, FormatError */
async function tokenizerJson(
  directory: Directory,
  config: Readonly<Record<string, unknown>>,
  signal?: AbortSignal,
): Promise<Record<string, unknown>> {
  const where = directory.name;
  const has = (path: string) => directory.has(path, signal);
  if (await has('tokenizer.json')) {
    const json = await directory.json('tokenizer.json', signal);
    if (isObject(json) && isObject(json['model'])) return json;
    throw new FormatError(
      `tokenizer ${joinPath(where, 'tokenizer.json')}: expected an object with a model, got another; the file is damaged`,
    );
  }
  if ((await has('vocab.json')) && (await has('merges.txt'))) {
    const merges = await directory.text('merges.txt', signal);
    return clipTokenizerJson(await directory.json('vocab.json', signal), merges, where);
  }
  if (await has('spiece.model')) {
    const source = await directory.open('spiece.model', signal);
    try {
      const bytes = await source.read(0, await source.size(signal), signal);
      const extra = config['extra_ids'];
      return sentencePieceJson(bytes, typeof extra === 'number' ? extra : 100, where);
    } finally {
      await source.close?.();
    }
  }
  throw new NotFoundError(
    `tokenizer ${where}: expected tokenizer.json, vocab.json with merges.txt, or spiece.model, got none of them; check ` +
      'the folder, or add the tokenizer of the text encoder',
  );
}

/**
 * Special tokens that only the config names become tokens of their own, whatever stands around them: SD 2.x pads with
 * `!`, and has every `!` of a prompt count as padding.
 */
function withSpecials(
  json: Readonly<Record<string, unknown>>,
  config: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const added = Array.isArray(json['added_tokens']) ? (json['added_tokens'] as { content?: unknown }[]) : [];
  const names = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];
  const { vocab } = json['model'] as { vocab?: unknown };
  const idOf = (content: string): unknown =>
    Array.isArray(vocab)
      ? vocab.findIndex((entry) => Array.isArray(entry) && entry[0] === content)
      : isObject(vocab) && Object.hasOwn(vocab, content)
        ? vocab[content]
        : -1;
  const missing = new Set<string>();
  for (const name of names) {
    const content = contentOf(config[name]);
    if (content !== undefined && !added.some((token) => token.content === content)) missing.add(content);
  }
  const more = [...missing].flatMap((content) => {
    const id = idOf(content);
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
    return typeof id === 'number' && id >= 0 ? [{ id, content, ...flags }] : [];
  });
  return { ...json, added_tokens: [...added, ...more] };
}

/** A token as configs write it: text, or an object that holds it. */
function contentOf(token: unknown): string | undefined {
  if (typeof token === 'string') return token;
  return isObject(token) && typeof token['content'] === 'string' ? token['content'] : undefined;
}

async function make(json: object, config: object, where: string): Promise<Library> {
  let library: { Tokenizer: new (json: object, config: object) => Library };
  try {
    library = (await import('@huggingface/tokenizers')) as unknown as typeof library;
  } catch (cause) {
    throw new UnsupportedError(
      `tokenizer ${where}: expected the package @huggingface/tokenizers, got none; install it ` +
        '(npm install @huggingface/tokenizers), or pass embeddings of the prompt',
      { cause },
    );
  }
  try {
    return new library.Tokenizer(json, config);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FormatError(
      `tokenizer ${where}: expected a tokenizer that is understood, got one that is not (${reason})`,
      {
        cause,
      },
    );
  }
}

/** What the tokenizer puts before and behind a text: found by looking at one. */
function around(library: Library): [number[], number[]] {
  const inner = library.encode('a', { add_special_tokens: false }).ids;
  const outer = library.encode('a', { add_special_tokens: true }).ids;
  for (let at = 0; at + inner.length <= outer.length; at++) {
    if (inner.every((id, i) => outer[at + i] === id)) return [outer.slice(0, at), outer.slice(at + inner.length)];
  }
  return [[], []];
}
