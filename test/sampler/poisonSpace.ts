/** A host space that enforces the contract of the GPU one: it counts dispatches and ruins what a step leaves behind. */
import { HostSpace, type HostValues, type HostVec, type LinearForm, type Vec } from '../../src/sampler/index.ts';

export class PoisonSpace extends HostSpace {
  /** Dispatches by operation since the last look. */
  dispatches: Record<string, number> = {};
  private made: HostVec[] = [];

  override materialise(form: LinearForm): Vec {
    return form.single ?? this.note('materialise', super.materialise(form));
  }

  override clamp(form: LinearForm, lo: number, hi: number): Vec {
    return this.note('clamp', super.clamp(form, lo, hi));
  }

  override threshold(form: LinearForm, ratio: number, maxValue: number): Vec {
    return this.note('threshold', super.threshold(form, ratio, maxValue));
  }

  override relativeError(...args: Parameters<HostSpace['relativeError']>): Vec {
    return this.note('relativeError', super.relativeError(...args));
  }

  override scaleByNorms(...args: Parameters<HostSpace['scaleByNorms']>): Vec {
    return this.note('scaleByNorms', super.scaleByNorms(...args));
  }

  override project(...args: Parameters<HostSpace['project']>): Vec {
    return this.note('project', super.project(...args));
  }

  override mulExp(v: Vec, logScale: LinearForm): Vec {
    return this.note('mulExp', super.mulExp(v, logScale));
  }

  override mulSqrt(v: Vec, scale: LinearForm): Vec {
    return this.note('mulSqrt', super.mulSqrt(v, scale));
  }

  override mask(inside: LinearForm, outside: LinearForm, mask: Vec): Vec {
    return this.note('mask', super.mask(inside, outside, mask));
  }

  override matchStd(form: LinearForm, reference: Vec, amount: number): Vec {
    return this.note('matchStd', super.matchStd(form, reference, amount));
  }

  override halves(v: Vec): readonly [Vec, Vec] {
    const [a, b] = super.halves(v);
    return [this.track(a), this.track(b)];
  }

  override upload(values: HostValues, like: Vec): Vec {
    return this.track(super.upload(values, like));
  }

  override async read(v: Vec): Promise<HostValues> {
    this.dispatches.read = (this.dispatches.read ?? 0) + 1;
    return super.read(v);
  }

  override beginRun(): void {
    this.made = [];
  }

  override endStep(keep: readonly Vec[] = []): void {
    for (const v of this.made) if (!keep.includes(v)) v.data.fill(NaN);
    this.made = this.made.filter((v) => keep.includes(v));
  }

  /** What a network makes counts as made in the step. */
  track<T extends Vec>(v: T): T {
    this.made.push(v as unknown as HostVec);
    return v;
  }

  private note(what: string, v: Vec): Vec {
    this.dispatches[what] = (this.dispatches[what] ?? 0) + 1;
    return this.track(v);
  }
}
