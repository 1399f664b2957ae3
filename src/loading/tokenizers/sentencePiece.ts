/** T5's tokenizer as older folders have it, `spiece.model`, in the form of a `tokenizer.json`. */
import { FormatError } from '../../engine/errors.ts';

/** One entry: its text, its log probability, and its kind (1 is an ordinary one, 2 stands for what is unknown). */
interface PieceEntry {
  text: string;
  score: number;
  kind: number;
}

/** Fields of the protocol buffer that are read: `ModelProto.pieces`, and in each `piece`, `score`, `type`. */
const PIECES = 1;
const [TEXT, SCORE, KIND] = [1, 2, 3];
const UNKNOWN = 2;

/**
 * The unigram model of a SentencePiece file (Kudo & Richardson 2018), with T5's `</s>` behind the text.
 * @param extraIds sentinels that T5 appends to the vocabulary, last first
 * @throws FormatError for a file of another kind
 */
export function sentencePieceJson(bytes: Uint8Array, extraIds: number, where: string): Record<string, unknown> {
  const entries = [...fields(bytes, where)].flatMap(({ field, bytes: entry }) =>
    field === PIECES && entry ? [readPiece(entry, where)] : [],
  );
  const unknown = entries.findIndex(({ kind }) => kind === UNKNOWN);
  const end = entries.findIndex(({ text }) => text === '</s>');
  if (unknown < 0 || end < 0) throw damaged(where, 'pieces with </s> and an unknown one');
  const sentinels = Array.from({ length: extraIds }, (_, i) => `<extra_id_${extraIds - 1 - i}>`);
  const special = (content: string, id: number) => ({
    ...{ id, content, normalized: false, special: true },
    ...{ single_word: false, lstrip: false, rstrip: false },
  });
  return {
    version: '1.0',
    added_tokens: [
      ...entries.flatMap(({ text, kind }, id) => (kind === 1 ? [] : [special(text, id)])),
      ...sentinels.map((text, i) => special(text, entries.length + i)),
    ],
    normalizer: { type: 'Precompiled', precompiled_charsmap: '' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'WhitespaceSplit' },
        { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', add_prefix_space: true },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: '</s>', type_id: 0 } }],
      pair: [],
      special_tokens: { '</s>': { id: '</s>', ids: [end], tokens: ['</s>'] } },
    },
    decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', add_prefix_space: true },
    model: {
      type: 'Unigram',
      unk_id: unknown,
      vocab: [...entries.map(({ text, score }) => [text, score]), ...sentinels.map((text) => [text, 0])],
    },
  };
}

function readPiece(bytes: Uint8Array, where: string): PieceEntry {
  const entry: PieceEntry = { text: '', score: 0, kind: 1 };
  for (const { field, bytes: part, value } of fields(bytes, where)) {
    if (field === TEXT && part) entry.text = new TextDecoder().decode(part);
    if (field === SCORE && part) entry.score = new DataView(part.buffer, part.byteOffset).getFloat32(0, true);
    if (field === KIND) entry.kind = value;
  }
  return entry;
}

/** The fields of a message: of a number its value, of everything else its bytes. @throws FormatError */
function* fields(bytes: Uint8Array, where: string): Generator<{ field: number; value: number; bytes?: Uint8Array }> {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      if (at >= bytes.length || shift > 63) throw damaged(where, 'a whole number');
      const byte = bytes[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  const take = (length: number) => {
    if (at + length > bytes.length) throw damaged(where, `${length} bytes at ${at}`);
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = number();
    const [field, wire] = [Math.floor(tag / 8), tag % 8];
    if (wire === 0) yield { field, value: number() };
    else if (wire === 1) yield { field, value: 0, bytes: take(8) };
    else if (wire === 2) yield { field, value: 0, bytes: take(number()) };
    else if (wire === 5) yield { field, value: 0, bytes: take(4) };
    else throw damaged(where, 'a field of a known kind');
  }
}

const damaged = (where: string, what: string) =>
  new FormatError(`tokenizer ${where}: expected ${what} in spiece.model, got other bytes; the file is damaged`);
