"""Trains the U-Net that draws what a text says: cross-attention to the text encoder's states, on the autoencoder's
latents, v-prediction on the cosine schedule.

usage: python3 text_unet.py --out DIR [--minutes 70 | --steps N] [--warm CLASS-UNET.pt]
Needs OUT/data, OUT/vae.pt and OUT/text_encoder.pt, which stays as it is. Running it again goes on from
OUT/text_unet.pt; --warm takes the residual blocks of a class-conditional U-Net. The combinations of `captions.HELD_OUT`
are never seen.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import captions
import text_encoder
from clip_model import CLIPText
from clip_tokenizer import ClipTokenizer
from common import Ema
from condition_model import ConditionUNet, Transformer, condition_config
from contrast import load_towers
from latent_training import Task, even_noise, latents_of, options_of, run

# With the text encoder and the autoencoder below 8 MB in f16. No middle: 8x8 is the coarsest level, and its
# transformers see all of it.
CONFIG = condition_config(
    [64, 96], [False, True], context=text_encoder.WIDTH, heads=3, mid_block_type=None
)
REPHRASED = 0.3  # how often a caption is another way to say the name


class TextUNet(ConditionUNet):
    """Transformers start as the identity."""

    def __init__(self, config: dict):
        super().__init__(config)
        for module in self.modules():
            if isinstance(module, Transformer):
                nn.init.zeros_(module.proj_out.weight)
                nn.init.zeros_(module.proj_out.bias)


def load_text(out: Path) -> tuple[CLIPText, ClipTokenizer]:
    """The text model with weights as they are exported, rounded to f16, and its tokenizer."""
    model = load_towers(out, text_encoder.pair_of(out)).text.model
    model.load_state_dict({name: value.half().float() for name, value in model.state_dict().items()})
    return model, text_encoder.open_tokenizer(out)


def condition(options: argparse.Namespace) -> Callable[[Tensor], Tensor]:
    """Labels [B], the number of a name, to the states of one of the ways to say it [B, T, D]; behind the last: ''."""
    model, tokenizer = load_text(options.out)
    table = [[tokenizer.encode(way) for way in captions.ways(e)] for e in captions.read(options.out / 'data')]
    table.append([tokenizer.encode('')])

    def states(labels: Tensor) -> Tensor:
        said = torch.rand(len(labels)).tolist()
        rows = [
            table[i][0 if u >= REPHRASED else int(u / REPHRASED * len(table[i]))]
            for i, u in zip(labels.tolist(), said)
        ]
        with torch.no_grad():
            return model(torch.tensor(rows))[0]

    return states


def examples(options: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor]:
    """Latents with their mirror images, the number of each one's name, and how often it is drawn."""
    cache, key = options.out / 'latents.pt', json.loads((options.out / 'fold.json').read_text())['key']
    if cache.exists() and (known := torch.load(cache))['key'] == key:
        return known['examples']
    emoji, pictures = captions.read(options.out / 'data'), captions.pictures(options.out / 'data')
    weight = captions.weights(emoji)
    kept = torch.tensor([i for i, e in enumerate(emoji) if not e.held_out])
    mirrored = torch.tensor([i for i in kept.tolist() if emoji[i].mirrors])
    plain = latents_of(options.out, pictures[kept], options.device)
    flipped = latents_of(options.out, pictures[mirrored].flip(3), options.device)
    mirrors = torch.tensor([e.mirrors for e in emoji])
    # A mirrored pair counts as one picture.
    drawn = weight * torch.where(mirrors, 0.5, 1.0)
    found = torch.cat([plain, flipped]), torch.cat([kept, mirrored]), torch.cat([drawn[kept], drawn[mirrored]])
    torch.save({'key': key, 'examples': found}, cache)
    return found


@torch.no_grad()
def warm(path: Path, model: nn.Module, ema: Ema) -> dict:
    """Takes what has the same shape in a class-conditional U-Net of one more level, whose coarsest is left out."""
    old = torch.load(path, map_location='cpu')['ema']
    state, taken = model.state_dict(), 0
    for name, value in state.items():
        there = name
        if name.startswith('up_blocks.'):
            _, level, rest = name.split('.', 2)
            there = f'up_blocks.{int(level) + 1}.{rest}'
        there = there.replace('transformer_blocks.0.attn1.', '')
        if there in old and old[there].shape == value.shape:
            value.copy_(old[there])
            taken += value.numel()
    model.load_state_dict(state)
    ema.model.load_state_dict(state)
    print(f'{taken} weights from {path}', flush=True)
    return {'step': 0, 'minutes': 0.0, 'curve': []}


def task(names: int) -> Task:
    return Task(
        'text_unet',
        CONFIG,
        TextUNet,
        null=names,
        examples=examples,
        weight=even_noise,
        skew=0.75,
        condition=condition,
        warm=warm,
    )


if __name__ == '__main__':
    chosen = options_of(minutes=70)
    run(task(len(captions.read(chosen.out / 'data'))), chosen)
