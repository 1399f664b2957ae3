"""The independent judge of text -> emoji: another pair of encoders, by which a picture finds its name.

usage: python3 text_judge.py --out DIR [--steps 1500 | --minutes M]
Needs OUT/data; writes OUT/text_judge.pt and goes on from there. Nothing is shared with the text encoder that the U-Net
listens to: words instead of pieces, no causal order, another picture network, another seed. It knows every name, the
held-out combinations too, and never sees autoencoder or U-Net.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captions import Emoji
from clip_tokenizer import words_of
from contrast import Pair, Towers, options_of, train

LENGTH, WIDTH, OUT = 20, 128, 128


class Residual(nn.Module):
    """Two convolutions around a shortcut: [B, C, H, W] -> the same shape."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.body(x))


class PictureTower(nn.Module):
    """Patches of 4x4, then residual stages at 16, 8 and 4: [B, 3, 64, 64] -> [B, OUT]."""

    def __init__(self, widths: tuple[int, ...] = (40, 80, 144)):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, stride=4), nn.BatchNorm2d(widths[0]), nn.GELU()]
        for cin, cout in zip((None, *widths), widths):
            if cin is not None:
                layers += [nn.Conv2d(cin, cout, 2, stride=2), nn.BatchNorm2d(cout), nn.GELU()]
            layers.append(Residual(cout))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(16 * widths[-1], OUT))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(1))


class TextTower(nn.Module):
    """Two layers of self-attention without order of reading, then the mean over words: ids [B, T] (0: no word) ->
    [B, OUT].
    """

    def __init__(self, words: int):
        super().__init__()
        self.words = nn.Embedding(words + 1, WIDTH, padding_idx=0)
        self.places = nn.Parameter(0.02 * torch.randn(LENGTH, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, 0.0, 'gelu', batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, OUT))

    def forward(self, ids: Tensor) -> Tensor:
        empty = ids == 0
        x = self.layers(0.1 * self.words(ids) + self.places, src_key_padding_mask=empty)
        x = x.masked_fill(empty[..., None], 0).sum(1) / (~empty).sum(1, keepdim=True)
        return self.head(x)


def build(emoji: list[Emoji]) -> Towers:
    known = {word: 1 + i for i, word in enumerate(sorted({w for e in emoji for w in words_of(e.name)}))}

    def inputs(texts: list[str]) -> Tensor:
        rows = [[known[w] for w in words_of(t) if w in known][:LENGTH] for t in texts]
        return torch.tensor([row + [0] * (LENGTH - len(row)) for row in rows])

    return Towers(PictureTower(), TextTower(len(known)), inputs)


JUDGE = Pair('text_judge', build, seed=17, all_names=True, rephrased=0.0)

if __name__ == '__main__':
    train(options_of(steps=1500), JUDGE)
