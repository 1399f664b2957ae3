/** How networks of full size are planned, from a config and the size of a call; no weights, no device. */
import { readFileSync } from 'node:fs';
import type { Capabilities, Report } from '../../src/engine/index.ts';
import type { RawConfig } from '../../src/loading/index.ts';
import * as m from '../../src/models/all.ts';

export type Keys = ReadonlyMap<string, readonly number[]>;

/** Of what a network takes or, for a decoder, of the latents; what has no size of its own looks at the batch alone. */
export interface Size {
  batch: number;
  height: number;
  width: number;
}

/** The keys and shapes of a network's checkpoint, and what a call of it takes. */
export interface Planned {
  weights(): Keys;
  plan(size: Size, dtype: 'f32' | 'f16', caps: Capabilities): Report;
}

/** Of a config. */
export type Kind = (raw: RawConfig) => Planned;

export const config = (name: string): RawConfig =>
  JSON.parse(readFileSync(new URL(`./configs/${name}.json`, import.meta.url), 'utf8')) as RawConfig;

/** A network that has functions of its own to ask. */
const asked =
  <C>(
    read: (raw: RawConfig) => C,
    weights: (c: C) => Keys,
    plan: (c: C, ...args: Parameters<Planned['plan']>) => Report,
  ): Kind =>
  (raw) => {
    const c = read(raw);
    return { weights: () => weights(c), plan: (...args) => plan(c, ...args) };
  };

/** A network that its definition says all about. */
const defined =
  <C, F extends object>(definition: m.ModelDefinition<C, F>, call: (size: Size) => F): Kind =>
  (raw) => {
    const c = definition.readConfig(raw);
    return {
      weights: () => m.weightsOf(definition, c),
      plan: (size, dtype, caps) => m.planModel(definition, c, call(size), dtype, caps),
    };
  };

export const conditional = asked(m.readUNetConditionConfig, m.unet2dConditionWeights, m.planUNet2DCondition);
export const unet2d = asked(m.readUNet2DConfig, m.unet2dWeights, m.planUNet2D);
export const controlNet = asked(m.readControlNetConfig, m.controlNetWeights, m.planControlNet);
export const adm = asked(m.readAdmConfig, m.admWeights, m.planAdmUNet);
export const classifier = asked(m.readClassifierConfig, m.classifierWeights, (c, size, dtype, caps) =>
  m.planAdmClassifier(c, { ...size, gradient: true }, dtype, caps),
);
export const edm = asked(m.readEdmConfig, m.edmWeights, m.planEdm);
export const ncsnpp = asked(m.readNcsnppConfig, m.ncsnppWeights, m.planNcsnpp);
const kl = (part: 'encode' | 'decode') =>
  asked(m.readAutoencoderKLConfig, m.autoencoderKlWeights, (c, size, dtype, caps) =>
    m.planAutoencoderKL(c, part, size, dtype, caps),
  );
export const [encoder, decoder] = [kl('encode'), kl('decode')];
const tinyPart = (part: 'encode' | 'decode') =>
  asked(m.readAutoencoderTinyConfig, m.autoencoderTinyWeights, (c, size, dtype, caps) =>
    m.planAutoencoderTiny(c, { part, channels: part === 'decode' ? c.latentChannels : 3, ...size }, dtype, caps),
  );
export const [tinyEncoder, tiny] = [tinyPart('encode'), tinyPart('decode')];
const vqPart = (part: 'encode' | 'decode') =>
  asked(m.readVQConfig, m.vqWeights, (c, size, dtype, caps) =>
    m.planVQ(c, { part, channels: 3, ...size }, dtype, caps),
  );
export const [vqEncoder, vq] = [vqPart('encode'), vqPart('decode')];
export const clip = (className: 'CLIPTextModel' | 'CLIPTextModelWithProjection'): Kind =>
  asked(
    (raw) => m.readClipTextConfig(raw, className),
    (c) => m.clipTextWeights(c, className),
    (c, { batch }, dtype, caps) => m.planClipText(c, className, { batch }, dtype, caps),
  );
export const t5 = asked(m.readT5Config, m.t5Weights, (c, { batch }, dtype, caps) =>
  m.planT5(c, { batch, length: 256, padded: false }, dtype, caps),
);
export const clipVision = asked(m.readClipVisionConfig, m.clipVisionWeights, (c, { batch }, dtype, caps) =>
  m.planClipVision(c, { batch }, dtype, caps),
);
export const karloTextProj = asked(m.readUnclipTextProjConfig, m.unclipTextProjWeights, (c, { batch }, dtype, caps) =>
  m.planUnclipTextProj(c, { batch, tokens: 77 }, dtype, caps),
);
export const karloPrior = defined(m.priorDefinition, ({ batch }) => {
  return { batch, textTokens: 77, conditionTokens: 1, hiddenTokens: 1, masked: true };
});
export const sd3 = defined(m.sd3Definition, (size) => ({ ...size, textTokens: 333 }));
export const flux = defined(m.fluxDefinition, ({ batch, height, width }) => {
  return { batch, imageTokens: (height * width) / 4, textTokens: 512 };
});
export const ncsnv2 = asked(m.readNcsnv2Config, m.ncsnv2Weights, m.planNcsnv2);
export const dit = defined(m.ditDefinition, (size) => size as never);
