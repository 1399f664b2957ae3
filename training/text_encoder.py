"""Trains the text encoder that the U-Net listens to, with the picture encoder that it needs, on emoji and their names.

usage: python3 text_encoder.py --out DIR [--steps 1500 | --minutes M]
Needs OUT/data; writes OUT/tokenizer and OUT/text_encoder.pt, and goes on from there. The combinations of
`captions.HELD_OUT` are never seen.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

import captions
from captions import Emoji
from clip_model import CLIPText, clip_text_config
from clip_tokenizer import ClipTokenizer
from contrast import Pair, Towers, options_of, train

VOCABULARY, LENGTH, WIDTH = 1280, 24, 96


class PictureEncoder(nn.Module):
    """Four strided stages of convolution, batch norm and ReLU; what is where counts: [B, 3, 64, 64] -> [B, out]."""

    def __init__(self, out: int, widths: tuple[int, ...] = (24, 48, 96, 128)):
        super().__init__()
        layers: list[nn.Module] = []
        for cin, cout in zip((3, *widths), widths):
            for first, stride in ((cin, 2), (cout, 1)):
                layers += [nn.Conv2d(first, cout, 3, stride, padding=1), nn.BatchNorm2d(cout), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(16 * widths[-1], out)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(1))


class Pooled(nn.Module):
    """The text model's state at the end token, projected: ids [B, T] -> [B, out]."""

    def __init__(self, model: CLIPText, out: int):
        super().__init__()
        self.model = model
        self.projection = nn.Linear(model.config['hidden_size'], out, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.projection(self.model(ids)[1])


def config_of(tokenizer: ClipTokenizer) -> dict:
    return clip_text_config(
        WIDTH,
        layers=3,
        heads=3,
        hidden=2 * WIDTH,
        vocab_size=len(tokenizer.vocab),
        max_position_embeddings=tokenizer.length,
        bos_token_id=tokenizer.start,
        eos_token_id=tokenizer.end,
        pad_token_id=tokenizer.end,
    )


def build(tokenizer: ClipTokenizer) -> Towers:
    return Towers(
        PictureEncoder(128),
        Pooled(CLIPText(config_of(tokenizer)), 128),
        lambda texts: torch.tensor([tokenizer.encode(t) for t in texts]),
    )


def open_tokenizer(out: Path) -> ClipTokenizer:
    """The tokenizer of a run, learnt from the training names where there is none yet."""
    folder = out / 'tokenizer'
    if not (folder / 'vocab.json').exists():
        names = [e.name for e in captions.read(out / 'data') if not e.held_out]
        ClipTokenizer.learn(names, VOCABULARY, LENGTH).save(folder)
    return ClipTokenizer.load(folder)


def pair_of(out: Path) -> Pair:
    return Pair('text_encoder', lambda _: build(open_tokenizer(out)), seed=0, all_names=False, rephrased=0.4)


if __name__ == '__main__':
    options = options_of(steps=1500)
    train(options, pair_of(options.out))
