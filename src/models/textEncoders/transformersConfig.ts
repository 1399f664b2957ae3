/** What configs of the transformers library have in common. */
import { ConfigError } from '../../engine/index.ts';
import type { Activation } from '../../kernels/index.ts';
import type { ConfigReader } from '../../loading/index.ts';

/** Its activations by our names. */
const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  gelu: 'gelu',
  gelu_fast: 'gelu_tanh',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  mish: 'mish',
  quick_gelu: 'quick_gelu',
  relu: 'relu',
  sigmoid: 'sigmoid',
  silu: 'silu',
  swish: 'silu',
  tanh: 'tanh',
};

/** The activation of that name. @throws ConfigError for one that is not built. */
export function transformersActivation(cfg: ConfigReader, field: string, name: string): Activation {
  if (Object.hasOwn(ACTIVATIONS, name)) return ACTIVATIONS[name];
  const known = Object.keys(ACTIVATIONS).join(', ');
  throw new ConfigError(`${cfg.className} config: expected ${field} to be one of ${known}, got "${name}"`, field);
}

/**
 * Fields of every config of the library that do not bear on an encoder's result: how the file was written, training,
 * generation, what to return, special tokens that only a tokenizer reads.
 */
export const NO_CHANGE: readonly string[] = [
  'add_cross_attention',
  'architectures',
  'attention_dropout',
  'attn_implementation',
  'bad_words_ids',
  'begin_suppress_tokens',
  'bos_token_id',
  'chunk_size_feed_forward',
  'classifier_dropout',
  'cross_attention_hidden_size',
  'decoder_start_token_id',
  'diversity_penalty',
  'do_sample',
  'dropout',
  'dropout_rate',
  'dtype',
  'early_stopping',
  'encoder_no_repeat_ngram_size',
  'exponential_decay_length_penalty',
  'finetuning_task',
  'forced_bos_token_id',
  'forced_eos_token_id',
  'gradient_checkpointing',
  'id2label',
  'initializer_factor',
  'initializer_range',
  'is_decoder',
  'is_encoder_decoder',
  'label2id',
  'length_penalty',
  'max_length',
  'min_length',
  'model_type',
  'n_positions',
  'no_repeat_ngram_size',
  'num_beam_groups',
  'num_beams',
  'num_decoder_layers',
  'num_return_sequences',
  'output_attentions',
  'output_hidden_states',
  'output_past',
  'output_scores',
  'pad_token_id',
  'prefix',
  'problem_type',
  'remove_invalid_values',
  'repetition_penalty',
  'return_dict',
  'return_dict_in_generate',
  'scale_decoder_outputs',
  'sep_token_id',
  'suppress_tokens',
  'task_specific_params',
  'temperature',
  'tf_legacy_loss',
  'tie_encoder_decoder',
  'tie_word_embeddings',
  'tokenizer_class',
  'top_k',
  'top_p',
  'torch_dtype',
  'torchscript',
  'transformers_version',
  'typical_p',
  'use_bfloat16',
  'use_cache',
];
