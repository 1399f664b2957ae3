/** Adapters of low rank on the networks of a pipeline. */
import { InvalidArgumentError, WeightError } from '../../engine/index.ts';
import type { ByteSource } from '../../loading/index.ts';
import { Lora, type LoraPart } from '../../models/lora/loraFile.ts';
import type { LoraUse } from '../../models/lora/mergeLoras.ts';
import { resolveFile } from './singleFileSource.ts';
import type { PretrainedSource, SourceOptions } from './source.ts';

/** An adapter's file, and how strongly it acts. */
export interface PipelineLora extends SourceOptions {
  /** `org/name/file.safetensors`, a URL, a picked file, a source of bytes; in Node also a path. */
  source: PretrainedSource;
  /** Factor on what it adds; default 1. */
  weight?: number;
}

/** A network that adapters can be merged into. */
export interface LoraHolder {
  part: LoraPart;
  setLoras(uses: readonly LoraUse[], options?: { signal?: AbortSignal }): Promise<void>;
}

/** The adapters of one pipeline. */
export class PipelineLoras {
  private uses: readonly LoraUse[] = [];
  private files: readonly ByteSource[] = [];
  private last: Promise<unknown> = Promise.resolve();

  /** @param place how the pipeline's own source was reached. */
  constructor(
    private readonly holders: readonly LoraHolder[],
    private readonly place: SourceOptions,
  ) {}

  /**
   * Merges adapters into the networks in place of those before; none give back the weights of the pipeline's files, bit
   * by bit. When it fails, those before stay.
   * @throws InvalidArgumentError for a source that names no file; FormatError, WeightError naming keys of an adapter
   * for another model, UnsupportedError for another kind of adapter, NotFoundError, NetworkError, AbortedError
   */
  load(list: readonly PipelineLora[], options: { signal?: AbortSignal } = {}): Promise<void> {
    const turn = this.last.then(() => this.replace(list, options));
    this.last = turn.catch(() => undefined);
    return turn;
  }

  /** Lets go of the adapters' files. */
  async dispose(): Promise<void> {
    await this.last;
    await closeAll(this.files);
  }

  private async replace(list: readonly PipelineLora[], options: { signal?: AbortSignal }): Promise<void> {
    const files = list.map((lora) => this.file(lora));
    const before = this.uses;
    const done: LoraHolder[] = [];
    try {
      const uses: LoraUse[] = [];
      for (const [i, file] of files.entries())
        uses.push({ lora: await Lora.open(file, options), weight: list[i].weight });
      for (const { lora } of uses) this.checkParts(lora);
      for (const holder of this.holders) {
        const own = of(uses, holder);
        if (own.length === 0 && of(before, holder).length === 0) continue;
        done.push(holder);
        await holder.setLoras(own, options);
      }
      this.uses = uses;
    } catch (error) {
      // The last of them may be half done.
      for (const holder of done) await holder.setLoras(of(before, holder));
      await closeAll(files);
      throw error;
    }
    await closeAll(this.files);
    this.files = files;
  }

  private file(lora: PipelineLora): ByteSource {
    const { token, endpoint, local } = this.place;
    const file = resolveFile(lora.source, { token, endpoint, local, ...lora });
    if (file) return file;
    throw new InvalidArgumentError(
      `loadLoras: expected the file of an adapter, got ${JSON.stringify(lora.source) ?? typeof lora.source}; name its ` +
        '.safetensors file (org/name/file.safetensors, a URL, a picked file)',
    );
  }

  private checkParts(lora: Lora): void {
    const strange = lora.parts.filter((part) => !this.holders.some((holder) => holder.part === part));
    if (strange.length === 0) return;
    const keys = strange.flatMap((part) => lora.layers(part).map(({ down }) => down));
    const own = this.holders.map(({ part }) => part).join(', ');
    throw new WeightError(
      `LoRA ${lora.name}: expected layers of ${own}, got ${strange.join(', ')} (${keys.slice(0, 3).join(', ')}); it was ` +
        'made for another model, or this pipeline was loaded without that part',
      keys,
    );
  }
}

const of = (uses: readonly LoraUse[], { part }: LoraHolder) => uses.filter(({ lora }) => lora.parts.includes(part));

async function closeAll(files: readonly ByteSource[]): Promise<void> {
  for (const file of files) await file.close?.();
}
