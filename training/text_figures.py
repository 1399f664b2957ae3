"""Figures of merit of text -> emoji: whether the judge (text_judge.py) finds the name of a generated picture.

usage: python3 text_figures.py --out DIR [--weights ../weights/emoji-text --count 600 --held-each 8 --guidance 4
    --steps 20 --seed 2]
Writes OUT/figures.json. Names are drawn at random, one picture each; a picture counts when the right name is among the
five that the judge thinks most like it.
- all names: drawn from all, ranked among all. "Family": ranked among families, a family being all names that differ in
  skin tone alone, and as like as its most like name.
- plain names: those without skin tone, drawn and ranked among themselves.
- held-out combinations: several pictures each, ranked among all names, and among the combinations alone.
The same for the real pictures, and for those through the autoencoder, says what the judge itself can do.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import captions
from captions import Emoji
from common import prepare
from contrast import Towers, load_towers
from text_export import WEIGHTS, read_pipeline
from text_judge import JUDGE
from text_sample import noise_of, sample
from vae import reconstruct

@dataclass
class Places:
    """Where the right name stands, from 0, [B] each."""

    exact: Tensor
    family: Tensor


class Judge:
    """Ranks names, and families of names, for pictures [B, 3, 64, 64] in [-1, 1]."""

    def __init__(self, towers: Towers, emoji: list[Emoji]):
        self.towers, self.emoji = towers, emoji
        names = [e.name for e in emoji]
        with torch.no_grad():
            self.texts = torch.cat([towers.encode_texts(names[i : i + 512]) for i in range(0, len(names), 512)])
        families = sorted({e.family for e in emoji})
        number = {family: i for i, family in enumerate(families)}
        self.family = torch.tensor([number[e.family] for e in emoji])
        self.families = len(families)

    @torch.no_grad()
    def places(self, pictures: Tensor, wanted: list[int], among: list[int] | None = None) -> Places:
        seen = torch.cat([self.towers.encode_pictures(part) for part in pictures.split(64)])
        like = seen @ self.texts.T  # [B, names]
        own = like[torch.arange(len(wanted)), wanted][:, None]
        field = like if among is None else like[:, among]
        best = torch.full((len(like), self.families), -2.0)
        best.scatter_reduce_(1, self.family.expand_as(like), like, 'amax')
        right = best[torch.arange(len(wanted)), self.family[wanted]][:, None]
        return Places((field > own).sum(1), (best > right).sum(1))


def share(places: Tensor, top: int) -> float:
    return (places < top).float().mean().item()


def figures(options: argparse.Namespace) -> dict:
    emoji = captions.read(options.out / 'data')
    pictures = captions.pictures(options.out / 'data')
    judge, pipe = Judge(load_towers(options.out, JUDGE), emoji), read_pipeline(options.weights)
    plain = [i for i, e in enumerate(emoji) if not e.toned]
    held = [i for i, e in enumerate(emoji) if e.held_out]
    trained = [i for i, e in enumerate(emoji) if not e.held_out]
    order = torch.Generator().manual_seed(options.seed)

    def drawn(pool: list[int]) -> list[int]:
        return [pool[i] for i in torch.randperm(len(pool), generator=order)[: options.count].tolist()]

    def draw(wanted: list[int], seed: int) -> Tensor:
        noise = noise_of(len(wanted), seed)
        names = [emoji[i].name for i in wanted]
        return sample(pipe, names, noise, options.steps, options.guidance) * 2 - 1

    every, base = drawn(trained), drawn([i for i in plain if not emoji[i].held_out])
    tried = [i for i in held for _ in range(options.held_each)]
    out: dict = {
        'names': len(emoji),
        'families': judge.families,
        'plainNames': len(plain),
        'steps': options.steps,
        'guidance': options.guidance,
        'seed': options.seed,
    }
    sources = {
        'generated': lambda wanted, seed: draw(wanted, seed),
        'real': lambda wanted, seed: pictures[wanted],
        'throughAutoencoder': lambda wanted, seed: reconstruct(pipe.vae, pictures[wanted], 'cpu'),
    }
    for source, make in sources.items():
        all_ = judge.places(make(every, options.seed), every)
        alone = judge.places(make(base, options.seed + 1), base, plain)
        out[source] = {
            'allNames': {
                'pictures': len(every),
                'top1': share(all_.exact, 1),
                'top5': share(all_.exact, 5),
                'familyTop1': share(all_.family, 1),
                'familyTop5': share(all_.family, 5),
            },
            'plainNames': {
                'pictures': len(base),
                'top1': share(alone.exact, 1),
                'top5': share(alone.exact, 5),
            },
        }
        if options.held_each:
            seen = make(tried, options.seed + 2)
            wide, narrow = judge.places(seen, tried), judge.places(seen, tried, held)
            out[source]['heldOut'] = {
                'combinations': len(held),
                'pictures': len(tried),
                'top1': share(wide.exact, 1),
                'top5': share(wide.exact, 5),
                'familyTop5': share(wide.family, 5),
                'top1AmongHeldOut': share(narrow.exact, 1),
                'top5PerName': {
                    emoji[i].name: share(wide.exact[n * options.held_each : (n + 1) * options.held_each], 5)
                    for n, i in enumerate(held)
                },
            }
        if options.quick:
            break
    return out


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--weights', type=Path, default=WEIGHTS)
    parser.add_argument('--count', type=int, default=600)
    parser.add_argument('--steps', type=int, default=20)
    parser.add_argument('--guidance', type=float, default=4.0)
    parser.add_argument('--seed', type=int, default=2)
    parser.add_argument('--quick', action='store_true', help='generated pictures only, nothing written')
    parser.add_argument('--held-each', type=int, default=8, help='pictures of each held-out combination')
    chosen = parser.parse_args()
    prepare('cpu')
    start = time.time()
    measured = figures(chosen)
    if not chosen.quick:
        (chosen.out / 'figures.json').write_text(json.dumps(measured, indent=2))
    print(json.dumps(measured, indent=1), f'{time.time() - start:.0f} s')
