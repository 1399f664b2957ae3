/**
 * Adapters of low rank: a file that holds, for some weights W, two thin matrices B and A with W + weight·(α/r)·B·A in
 * mind. Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", https://arxiv.org/abs/2106.09685
 */
import { FormatError, UnsupportedError, WeightError } from '../../engine/index.ts';
import { Checkpoint, type ByteSource } from '../../loading/index.ts';
import { isObject, parsePythonJson } from '../../loading/json.ts';
import { readHeader } from '../../loading/safetensors.ts';
import { isTransformerLayer } from './originalNames.ts';

/** The component of a pipeline that an adapter is for. */
export type LoraPart = 'unet' | 'transformer' | 'text_encoder' | 'text_encoder_2';

/** The matrices for one weight, by their keys in the file. */
export interface LoraModule {
  /** What the file calls the layer, without the part's prefix: dots as in diffusers, or underscores as in kohya. */
  readonly name: string;
  /** A, [r,I] or [r,I,k,k]. */
  readonly down: string;
  /** B, [O,r] or [O,r,1,1]. */
  readonly up: string;
  /** The core of Tucker's form, [r,r,k,k]. */
  readonly mid?: string;
  /** α, where the file keeps it as a tensor. */
  readonly alphaKey?: string;
  /** α/r, where the file's metadata tell it. */
  readonly scale?: number;
}

/** Matrices in PEFT's, diffusers' older and kohya's words; the layer is what stands before. */
const MATRIX = /^(.+?)(?:\.lora_(A|B|down|up|mid)(?:\.[\w-]+)?|[._]lora(?:_linear_layer)?\.(down|up))\.weight$/;
const ALPHA = /^(.+?)(?:[._]lora)?\.alpha$/;
const ROLES: Readonly<Record<string, 'down' | 'up' | 'mid'>> = {
  A: 'down',
  B: 'up',
  down: 'down',
  up: 'up',
  mid: 'mid',
};

const PREFIXES: readonly (readonly [string, LoraPart])[] = [
  ['lora_unet_', 'unet'],
  ['lora_te1_', 'text_encoder'],
  ['lora_te2_', 'text_encoder_2'],
  ['lora_te_', 'text_encoder'],
  ['lora_transformer_', 'transformer'],
  ['unet.', 'unet'],
  ['text_encoder_2.', 'text_encoder_2'],
  ['text_encoder.', 'text_encoder'],
  ['transformer.', 'transformer'],
  ['diffusion_model.', 'unet'],
  ['text_model.', 'text_encoder'],
];

/** A LoRA file: its layers by part; matrices are read when they are merged. */
export class Lora {
  private constructor(
    private readonly checkpoint: Checkpoint,
    private readonly modules: ReadonlyMap<LoraPart, readonly LoraModule[]>,
  ) {}

  /**
   * Reads the header of a `.safetensors` file in diffusers' (PEFT's) or kohya's layout; the source stays the caller's.
   * @throws FormatError, WeightError naming keys for half a pair, UnsupportedError naming keys of other kinds of
   * adapters (LoHa, LoKr, DoRA)
   */
  static async open(source: ByteSource, options: { signal?: AbortSignal } = {}): Promise<Lora> {
    const checkpoint = await Checkpoint.open(source, options);
    const { metadata } = await readHeader(source, options.signal);
    const settings = settingsOf(metadata.get('lora_adapter_metadata'), checkpoint.name);
    const layers = new Map<string, Partial<Record<'down' | 'up' | 'mid' | 'alphaKey', string>>>();
    const others: string[] = [];
    for (const key of checkpoint.keys()) {
      const matrix = MATRIX.exec(plainKey(key));
      const layer = matrix?.[1] ?? ALPHA.exec(key)?.[1];
      if (layer === undefined) others.push(key);
      else layers.set(layer, { ...layers.get(layer), [matrix ? ROLES[matrix[2] ?? matrix[3]] : 'alphaKey']: key });
    }
    if (others.length > 0 || layers.size === 0) throw refused(checkpoint.name, others);
    const halves = [...layers].filter(([, { down, up }]) => down === undefined || up === undefined);
    if (halves.length > 0) {
      const keys = halves.flatMap(([, found]) => Object.values(found));
      throw new WeightError(
        `LoRA ${checkpoint.name}: expected two matrices per layer, got ${keys.slice(0, 5).join(', ')} alone`,
        keys,
      );
    }
    const modules = new Map<LoraPart, LoraModule[]>();
    for (const [layer, { down, up, ...rest }] of layers) {
      const { part, name } = placeOf(layer);
      const rank = checkpoint.info(down!).shape[0];
      const module = { name, down: down!, up: up!, ...rest, scale: settings(part, name, rank) };
      modules.set(part, [...(modules.get(part) ?? []), module]);
    }
    return new Lora(checkpoint, modules);
  }

  /** What messages call the file. */
  get name(): string {
    return this.checkpoint.name;
  }

  /** The components that it has layers for. */
  get parts(): LoraPart[] {
    return [...this.modules.keys()];
  }

  /** The layers of a component. */
  layers(part: LoraPart): readonly LoraModule[] {
    return this.modules.get(part) ?? [];
  }

  /** Shape of a matrix. */
  shape(key: string): readonly number[] {
    return this.checkpoint.info(key).shape;
  }

  /** The values of a matrix. @throws NetworkError, AbortedError */
  read(key: string): Promise<Float32Array> {
    return this.checkpoint.read(key);
  }
}

/** The part and the layer's name in it. */
function placeOf(layer: string): { part: LoraPart; name: string } {
  const clean = layer
    .replace(/^base_model\.model\./, '')
    // Attention processors held the matrices beside the layers they belong to, under names of their own.
    .replace(/\.self_attn\.to_(q|k|v|out)$/, '.self_attn.$1_proj')
    .replace('.processor.to_', '.to_')
    .replace(/\.to_out$/, '.to_out.0');
  const found = PREFIXES.find(([prefix]) => clean.startsWith(prefix));
  const [prefix, part] = found ?? ['', 'unet'];
  const name = prefix === 'text_model.' ? clean : clean.slice(prefix.length);
  // Files that call every denoiser a U-Net have transformers too.
  return { part: part === 'unet' && isTransformerLayer(name) ? 'transformer' : part, name };
}

/** XLabs numbers the streams of Flux, 1 for the picture and 2 for the text. */
const plainKey = (key: string) =>
  key.replace(/\.processor\.(qkv|proj)_lora([12])\.(down|up)\.weight$/, (_, what: string, stream, way: string) => {
    return `.${stream === '1' ? 'img' : 'txt'}_attn.${what}.lora_${way}.weight`;
  });

/** α/r as PEFT's settings say, by part and layer; undefined where the file has none. */
function settingsOf(
  text: string | undefined,
  name: string,
): (part: LoraPart, layer: string, rank: number) => number | undefined {
  if (text === undefined) return () => undefined;
  const all = parsePythonJson(text, `LoRA ${name} lora_adapter_metadata`);
  if (!isObject(all)) throw new FormatError(`LoRA ${name}: expected lora_adapter_metadata to be an object`);
  return (part, layer, rank) => {
    if (all[`${part}.use_dora`] === true) throw refused(name, [`${part}.use_dora`]);
    const patterns = all[`${part}.alpha_pattern`];
    const special = isObject(patterns)
      ? Object.entries(patterns).find(([pattern]) => layer === pattern || layer.endsWith(`.${pattern}`))?.[1]
      : undefined;
    const alpha = special ?? all[`${part}.lora_alpha`];
    if (typeof alpha !== 'number') return undefined;
    return alpha / (all[`${part}.use_rslora`] === true ? Math.sqrt(rank) : rank);
  };
}

function refused(name: string, keys: readonly string[]): Error {
  if (keys.length === 0) return new FormatError(`LoRA ${name}: expected layers with lora_A or lora_down, got none`);
  return new UnsupportedError(
    `LoRA ${name}: expected only pairs of low rank and alpha, got ${keys.slice(0, 5).join(', ')}` +
      `${keys.length > 5 ? ` and ${keys.length - 5} more` : ''}; other kinds of adapters are not built`,
  );
}
