/**
 * `daguerre/models`: every model. The core (`daguerre`) holds only those that its first pipeline needs; the others come
 * with the pipeline that asks for them, or from here.
 */
export * from './index.ts';
export { LoadedModel, planModel, weightsOf, type ModelDefinition, type ModelInputs } from './loadedModel.ts';
export type { ModelOutputs } from './modelRuntime.ts';
export { Network } from './network.ts';
export { dit, type DiTInputs } from './transformers/dit.ts';
export { readDiTConfig, type DiTConfig } from './transformers/ditConfig.ts';
export { ditKeys, originalDiTConfig } from './transformers/ditKeys.ts';
export { DiT, ditDefinition, type DiTCall, type DiTGuidedCall, type DiTShape } from './transformers/ditModel.ts';
export { admUnet, type AdmInputs } from './adm/admUnet.ts';
export {
  POOLS,
  readAdmConfig,
  readClassifierConfig,
  type AdmConfig,
  type AdmEncoderConfig,
  type ClassifierConfig,
  type Pool,
} from './adm/admConfig.ts';
export { AdmUNet, admWeights, planAdmUNet, type AdmCall, type AdmShape } from './adm/admModel.ts';
export { classifier, type ClassifierInputs } from './classifier/classifier.ts';
export {
  AdmClassifier,
  classifierWeights,
  planAdmClassifier,
  type ClassifierCall,
  type ClassifierShape,
} from './classifier/classifierModel.ts';
export { EDM_CLASSES, readEdmConfig, type EdmClass, type EdmConfig } from './edm/edmConfig.ts';
export { EdmNetwork, edmWeights, planEdm, type EdmCall, type EdmShape } from './edm/edmModel.ts';
export {
  CLIPTextModel,
  CLIPTextModelWithProjection,
  clipTextWeights,
  planClipText,
  type ClipTextCall,
  type ClipTextOptions,
  type ClipTextOutput,
  type ClipTextStates,
  type HiddenStates,
} from './textEncoders/clipTextModel.ts';
export { readClipTextConfig, type ClipTextConfig } from './textEncoders/clipTextConfig.ts';
export {
  CLIPVisionModelWithProjection,
  clipVisionWeights,
  planClipVision,
  type ClipVisionCall,
  type ClipVisionOptions,
  type ClipVisionOutput,
} from './imageEncoders/clipVisionModel.ts';
export { readClipVisionConfig, type ClipVisionConfig } from './imageEncoders/clipVisionConfig.ts';
export {
  planUnclipTextProj,
  UnCLIPTextProjModel,
  unclipTextProjWeights,
  type UnclipTextProjCall,
  type UnclipTextProjShape,
} from './unclip/textProjModel.ts';
export { readUnclipTextProjConfig, type UnclipTextProjConfig } from './unclip/textProj.ts';
export { readT5Config, type T5Config } from './textEncoders/t5Config.ts';
export { planT5, T5EncoderModel, t5Weights, type T5Call } from './textEncoders/t5EncoderModel.ts';
export type { TextInput, TokenBatch } from './textEncoders/tokenIds.ts';
export { flux, type FluxInputs } from './transformers/flux.ts';
export { readFluxConfig, type FluxConfig } from './transformers/fluxConfig.ts';
export { fluxDefinition, FluxTransformer, type FluxCall, type FluxShape } from './transformers/fluxModel.ts';
export { fluxImageIds, packLatents, unpackLatents, type HostTensor } from './transformers/packing.ts';
export { prior, type PriorInputs } from './transformers/prior.ts';
export { readPriorConfig, type PriorConfig } from './transformers/priorConfig.ts';
export { priorDefinition, PriorTransformer, type PriorCall, type PriorShape } from './transformers/priorModel.ts';
export { sd3, type SD3Inputs } from './transformers/sd3.ts';
export { readSD3Config, type SD3Config } from './transformers/sd3Config.ts';
export { sd3Definition, SD3Transformer, type SD3Call, type SD3Shape } from './transformers/sd3Model.ts';
export {
  AutoencoderTiny,
  autoencoderTinyWeights,
  planAutoencoderTiny,
  type AutoencoderTinyCall,
} from './tiny/autoencoderTinyModel.ts';
export { readAutoencoderTinyConfig, type AutoencoderTinyConfig } from './tiny/autoencoderTinyConfig.ts';
export { readVQConfig, type VQConfig } from './vq/vqConfig.ts';
export {
  planVQ,
  VQModel,
  vqWeights,
  type CodeIndices,
  type CodeOutput,
  type VQCall,
  type VQPart,
} from './vq/vqModel.ts';
export { readNcsnppConfig, type NcsnppConfig } from './scoreSde/ncsnppConfig.ts';
export { NCSNpp, ncsnppWeights, planNcsnpp, type NcsnppCall, type NcsnppShape } from './scoreSde/ncsnppModel.ts';
export { ControlNet, controlNetWeights, planControlNet } from './controlNet/controlNetModel.ts';
export type { ControlNetCall, ControlNetShape, ControlOutput } from './controlNet/controlNetModel.ts';
export { controlNet, type ControlNetInputs, type ControlStrength } from './controlNet/controlNet.ts';
export { readControlNetConfig, type ControlNetConfig } from './controlNet/controlNetConfig.ts';
export type { AddedConditions, ConditionArguments, MaskInput } from './unetCondition/conditionInputs.ts';
export { unetCondition, type UNetConditionInputs } from './unetCondition/unetCondition.ts';
export { readUNetConditionConfig, type UNetConditionConfig } from './unetCondition/unetConditionConfig.ts';
export {
  planUNet2DCondition,
  UNet2DCondition,
  unet2dConditionWeights,
  type ControlResiduals,
  type UNet2DConditionCall,
  type UNet2DConditionShape,
} from './unetCondition/unetConditionModel.ts';
export { Lora, type LoraModule, type LoraPart } from './lora/loraFile.ts';
export { setLoras, type LoraTarget, type LoraUse } from './lora/mergeLoras.ts';
export { readNcsnv2Config, type Ncsnv2Class, type Ncsnv2Config, type Ncsnv2Norm } from './scoreSde/ncsnv2Config.ts';
export { NCSNv2, ncsnv2Weights, planNcsnv2, type Ncsnv2Call, type Ncsnv2Shape } from './scoreSde/ncsnv2Model.ts';
export {
  openSingleFile,
  type SingleFile,
  type SingleFileKind,
  type SingleFileOptions,
  type SingleFilePart,
} from './singleFile.ts';
export { kSparse, kSparseSupport, type KSparseCall, type KSparseConfig } from './autoencoders/kSparse.ts';
export { mlpVae, type MlpVaeCall, type MlpVaeConfig } from './autoencoders/mlpVae.ts';
export { vanillaVae, vanillaVaeSize, type VanillaVaeCall, type VanillaVaeConfig } from './autoencoders/vanillaVae.ts';
export { antixkVqVae, vqVae, type AntixkVqVaeConfig, type VqVaeCall, type VqVaeConfig } from './autoencoders/vqVae.ts';
export { vqVae2, type VqVae2Call } from './autoencoders/vqVae2.ts';
export type { PixelSnailConfig } from './pixelSnail/pixelSnail.ts';
export {
  PixelSnail,
  pixelSnailDefinition,
  type CodeMap,
  type PixelSnailSampling,
} from './pixelSnail/pixelSnailModel.ts';
export type { TdVaeConfig } from './tdVae/tdVae.ts';
export { tdVae, tdVaeDraws, tdVaeLoss, type TdVaeCall } from './tdVae/tdVaeModel.ts';
export {
  Tokenizer,
  type TokenizedPrompts,
  type TokenizeOptions,
  type TruncationWarning,
} from '../loading/tokenizers/tokenizer.ts';
export type { Split, SplitReport, Tiling } from './splitCalls.ts';
export { runTiles, tileGrid, type TileGrid, type TilingOptions } from './tiling.ts';
export { latentScaling, mapLatents, type LatentMap, type LatentStatistics } from './latentScaling.ts';
export { checkTokenizer, encodeClipPrompts, type ClipPromptOptions } from './textEncoders/clipPrompts.ts';
export { encodeSdxlPrompts, type SdxlPrompts, type TextEncoderPair } from './textEncoders/sdxlPrompts.ts';
export { encodeT5Prompts, type T5PromptOptions } from './textEncoders/t5Prompts.ts';
