/**
 * `daguerre/models`: every model. The core (`daguerre`) holds only those that its first pipeline needs; the others come
 * with the pipeline that asks for them, or from here.
 */
export * from './index.ts';
export { LoadedModel, planModel, weightsOf, type ModelDefinition, type ModelInputs } from './loadedModel.ts';
export type { ModelOutputs } from './modelRuntime.ts';
export { dit, type DiTInputs } from './transformers/dit.ts';
export { readDiTConfig, type DiTConfig } from './transformers/ditConfig.ts';
export { ditKeys, originalDiTConfig } from './transformers/ditKeys.ts';
export { DiT, ditDefinition, type DiTCall, type DiTGuidedCall, type DiTShape } from './transformers/ditModel.ts';
export { EDM_CLASSES, readEdmConfig, type EdmClass, type EdmConfig } from './edm/edmConfig.ts';
export { EdmNetwork, edmWeights, planEdm, type EdmCall, type EdmShape } from './edm/edmModel.ts';
