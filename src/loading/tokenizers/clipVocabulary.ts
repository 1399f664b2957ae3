/** CLIP's tokenizer as older folders have it, `vocab.json` and `merges.txt`, in the form of a `tokenizer.json`. */
import { FormatError } from '../../engine/errors.ts';
import { isObject } from '../json.ts';

/** What a word may be: CLIP splits contractions, runs of letters, single digits, and runs of anything else. */
const WORDS = "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";
const START = '<|startoftext|>';
const END = '<|endoftext|>';

/**
 * Byte-level pairs, lower case, `</w>` at the end of words, start and end around the text (Radford et al. 2021).
 * @throws FormatError for files of another kind
 */
export function clipTokenizerJson(vocab: unknown, mergesText: string, where: string): Record<string, unknown> {
  if (!isObject(vocab) || typeof vocab[START] !== 'number' || typeof vocab[END] !== 'number') {
    throw new FormatError(
      `tokenizer ${where}: expected a vocabulary of CLIP, with ${START} and ${END}, got another; add tokenizer.json`,
    );
  }
  const lines = mergesText.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#version'));
  const merges = lines.map((line) => line.split(' '));
  const bad = merges.findIndex((pair) => pair.length !== 2);
  if (bad >= 0) {
    throw new FormatError(
      `tokenizer ${where}: expected two parts in each line of merges.txt, got ${JSON.stringify(lines[bad])}; the file ` +
        'is damaged',
    );
  }
  const special = (content: string, normalized: boolean) => ({
    ...{ id: vocab[content], content, normalized, special: true },
    ...{ single_word: false, lstrip: false, rstrip: false },
  });
  return {
    version: '1.0',
    added_tokens: [special(START, true), special(END, false)],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'NFC' },
        { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' },
        { type: 'Lowercase' },
      ],
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: WORDS }, behavior: 'Removed', invert: true },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: {
      type: 'RobertaProcessing',
      sep: [END, vocab[END]],
      cls: [START, vocab[START]],
      trim_offsets: false,
      add_prefix_space: false,
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      unk_token: END,
      continuing_subword_prefix: '',
      end_of_word_suffix: '</w>',
      fuse_unk: false,
      vocab,
      merges,
    },
  };
}
