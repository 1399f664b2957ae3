"""CLIP's tokenizer: byte-level pairs in lower case with `</w>` behind words, learnt from a list of texts and written in
the files that transformers reads. Radford et al. 2021; Sennrich et al. 2016 (pairs).
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

START, END = '<|startoftext|>', '<|endoftext|>'
# CLIP's rule; Python's re says letters and digits this way.
WORDS = re.compile(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+")
SUFFIX = '</w>'


def byte_letters() -> dict[int, str]:
    """A visible letter for each byte, as GPT-2 chose them: printable ones stand for themselves, others follow 255."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in visible]
    return {b: chr(b) for b in visible} | {b: chr(256 + i) for i, b in enumerate(hidden)}


LETTERS = byte_letters()


def words_of(text: str) -> list[str]:
    """The text in lower case, split into words."""
    return WORDS.findall(re.sub(r'\s+', ' ', unicodedata.normalize('NFC', text)).strip().lower())


def pieces_of(word: str) -> tuple[str, ...]:
    """A word's bytes as letters, the last one marked."""
    letters = [LETTERS[b] for b in word.encode('utf-8')]
    return (*letters[:-1], letters[-1] + SUFFIX)


def merged(pieces: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """Every occurrence of the pair joined, from the left."""
    out, i = [], 0
    while i < len(pieces):
        joined = pieces[i : i + 2] == pair
        out.append(''.join(pair) if joined else pieces[i])
        i += 2 if joined else 1
    return tuple(out)


class ClipTokenizer:
    """Texts to ids of one length: start, pieces, end, then end again as padding."""

    def __init__(self, merges: list[tuple[str, str]], length: int):
        base = [LETTERS[b] for b in sorted(LETTERS, key=lambda b: LETTERS[b])]
        tokens = base + [t + SUFFIX for t in base] + [''.join(pair) for pair in merges] + [START, END]
        self.merges, self.length = merges, length
        self.vocab = {token: i for i, token in enumerate(tokens)}
        self.ranks = {pair: i for i, pair in enumerate(merges)}
        self.start, self.end = self.vocab[START], self.vocab[END]
        self.known: dict[str, list[int]] = {}

    @classmethod
    def learn(cls, texts: Iterable[str], vocab: int, length: int) -> 'ClipTokenizer':
        """Joins the most frequent pair until there are `vocab` tokens. A word counts by the root of its frequency, so
        that words of thousands of names leave merges for those of one.
        """
        counts = Counter(word for text in texts for word in words_of(text))
        table = {pieces_of(word): n**0.5 for word, n in counts.items()}
        merges: list[tuple[str, str]] = []
        while len(merges) < vocab - 2 * len(LETTERS) - 2:
            pairs: dict[tuple[str, str], float] = {}
            for pieces, n in table.items():
                for pair in zip(pieces, pieces[1:]):
                    pairs[pair] = pairs.get(pair, 0.0) + n
            # Longer and alphabetically earlier ones first among equals: the same list on every machine.
            best = max(pairs, key=lambda p: (round(pairs[p], 6), len(p[0] + p[1]), p))
            merges.append(best)
            table = {merged(pieces, best): n for pieces, n in table.items()}
        return cls(merges, length)

    def pieces(self, word: str) -> list[int]:
        if word in (START, END):
            return [self.vocab[word]]
        if word not in self.known:
            parts = pieces_of(word)
            while len(parts) > 1:
                best = min(zip(parts, parts[1:]), key=lambda p: self.ranks.get(p, len(self.ranks)))
                if best not in self.ranks:
                    break
                parts = merged(parts, best)
            self.known[word] = [self.vocab[p] for p in parts]
        return self.known[word]

    def encode(self, text: str) -> list[int]:
        """Exactly `length` ids; what is too long loses its end."""
        inner = [i for word in words_of(text) for i in self.pieces(word)][: self.length - 2]
        return [self.start, *inner, *[self.end] * (self.length - 1 - len(inner))]

    def save(self, folder: Path) -> None:
        """vocab.json, merges.txt, tokenizer_config.json, special_tokens_map.json."""
        folder.mkdir(parents=True, exist_ok=True)
        specials = {'bos_token': START, 'eos_token': END, 'pad_token': END, 'unk_token': END}
        config = {
            'add_prefix_space': False,
            'clean_up_tokenization_spaces': True,
            'do_lower_case': True,
            'errors': 'replace',
            'model_max_length': self.length,
            'tokenizer_class': 'CLIPTokenizer',
            **specials,
        }
        (folder / 'vocab.json').write_text(json.dumps(self.vocab, ensure_ascii=False))
        lines = ['#version: 0.2', *(' '.join(pair) for pair in self.merges)]
        (folder / 'merges.txt').write_text('\n'.join(lines) + '\n')
        for name, value in (('tokenizer_config.json', config), ('special_tokens_map.json', specials)):
            (folder / name).write_text(json.dumps(value, indent=2) + '\n')

    @classmethod
    def load(cls, folder: Path) -> 'ClipTokenizer':
        lines = (folder / 'merges.txt').read_text().splitlines()[1:]
        length = json.loads((folder / 'tokenizer_config.json').read_text())['model_max_length']
        out = cls([(a, b) for a, b in (line.split(' ') for line in lines if line)], length)
        if out.vocab != json.loads((folder / 'vocab.json').read_text()):
            raise ValueError(f'{folder}: vocab.json does not follow from merges.txt')
        return out
