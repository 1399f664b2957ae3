"""Contrastive training of a picture tower and a text tower: what text_encoder.py and text_judge.py share.

Radford et al. 2021, section 2.3.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import captions
from captions import Emoji
from common import Ema, Schedule, autocast, load_checkpoint, prepare, save_checkpoint
from models import parameters_of


@dataclass
class Pair:
    """What is trained. `name`: of the checkpoint; `build(emoji)`: the towers; `all_names`: whether held-out
    combinations are seen.
    """

    name: str
    build: Callable[[list[Emoji]], 'Towers']
    seed: int
    all_names: bool
    rephrased: float  # how often a caption is another way to say the name


class Towers(nn.Module):
    """Both towers on one unit sphere; `encode_text` takes what `inputs` makes of texts."""

    def __init__(self, picture: nn.Module, text: nn.Module, inputs: Callable[[list[str]], Tensor]):
        super().__init__()
        self.picture, self.text, self.inputs = picture, text, inputs
        self.log_scale = nn.Parameter(torch.tensor(14.0).log())

    def encode_pictures(self, x: Tensor) -> Tensor:
        """[B, 3, 64, 64] in [-1, 1] -> [B, E] of length 1."""
        return F.normalize(self.picture(x.contiguous(memory_format=torch.channels_last)).float(), dim=1)

    def encode_texts(self, texts: list[str]) -> Tensor:
        """[B, E] of length 1."""
        return F.normalize(self.text(self.inputs(texts)).float(), dim=1)


def distort(x: Tensor, mirrors: Tensor) -> Tensor:
    """Mirroring where the name allows it, shifts, brightness, blur and noise: a soft picture is to be known too."""
    flip = mirrors & (torch.rand(len(x)) < 0.5)
    x = torch.where(flip[:, None, None, None], x.flip(3), x)
    dx, dy = torch.randint(0, 7, (2,)).tolist()
    x = F.pad(x, (3, 3, 3, 3), value=1.0)[:, :, dy : dy + x.shape[2], dx : dx + x.shape[3]]
    half = len(x) // 2
    soft = F.avg_pool2d(x[:half], int(torch.randint(1, 5, ())))
    x = torch.cat([F.interpolate(soft, size=x.shape[2:], mode='bilinear', align_corners=False), x[half:]])
    return x + 0.2 * torch.rand(len(x), 1, 1, 1) * torch.randn_like(x)


@torch.no_grad()
def ranks(towers: Towers, pictures: Tensor, names: list[str], wanted: list[int]) -> Tensor:
    """Place, from 0, of the wanted name among all names for each picture."""
    texts = torch.cat([towers.encode_texts(names[i : i + 512]) for i in range(0, len(names), 512)])
    seen = torch.cat([towers.encode_pictures(part) for part in pictures.split(128)])
    likeness = seen @ texts.T
    return (likeness > likeness[torch.arange(len(wanted)), wanted][:, None]).sum(1)


def load_towers(out: Path, pair: Pair) -> Towers:
    """The averaged weights of a finished or unfinished training."""
    towers = pair.build(captions.read(out / 'data'))
    state = torch.load(out / f'{pair.name}.pt', map_location='cpu')
    towers.load_state_dict(state['ema'])
    return towers.eval().requires_grad_(False)


def train(options: argparse.Namespace, pair: Pair) -> None:
    prepare(options.device)
    torch.manual_seed(pair.seed)
    emoji, pictures = captions.read(options.out / 'data'), captions.pictures(options.out / 'data')
    towers = pair.build(emoji)
    towers.picture.to(memory_format=torch.channels_last)
    ema = Ema(towers, 0.995)
    optimizer = torch.optim.AdamW(towers.parameters(), betas=(0.9, 0.98), weight_decay=0.05)
    schedule = Schedule(options.rate, options.minutes, options.steps)
    path = options.out / f'{pair.name}.pt'
    state = {} if options.fresh else load_checkpoint(path, towers, ema, optimizer, schedule)
    curve, losses, saved = state.get('curve', []), [], time.time()
    torch.manual_seed(pair.seed + schedule.step)
    weight = captions.weights(emoji)
    if pair.all_names:
        weight = torch.ones(len(emoji))
    mirrors = torch.tensor([e.mirrors for e in emoji])
    ways = [captions.ways(e) for e in emoji]
    names, held = [e.name for e in emoji], [i for i, e in enumerate(emoji) if e.held_out]
    sample = torch.randperm(len(emoji), generator=torch.Generator().manual_seed(0))[:512].tolist()
    print(parameters_of(towers.picture), parameters_of(towers.text), 'weights, from step', schedule.step, flush=True)

    def checkpoint() -> None:
        ema.model.load_state_dict({**ema.model.state_dict(), **dict(towers.named_buffers())})
        ema.model.eval()
        top = {
            key: (ranks(ema.model, pictures[part], names, part) < 5).float().mean().item()
            for key, part in (('seen', [i for i in sample if not emoji[i].held_out]), ('heldOut', held))
        }
        loss = sum(losses) / max(1, len(losses))
        curve.append({'step': schedule.step, 'minutes': schedule.used / 60, 'loss': loss, 'top5': top})
        losses.clear()
        rest = {'curve': curve, 'batch': options.batch, 'rate': options.rate}
        save_checkpoint(path, towers, ema, optimizer, schedule, **rest)
        path.with_suffix('.json').write_text(json.dumps(curve, indent=0))
        print(json.dumps(curve[-1]), f'lr {schedule.rate():.2e}', flush=True)

    if schedule.progress() >= 1:
        return
    schedule.last = time.time()
    target = torch.arange(options.batch)
    while schedule.progress() < 1:
        for group in optimizer.param_groups:
            group['lr'] = schedule.rate()
        index = torch.multinomial(weight, options.batch)
        chosen = index.tolist()
        said = torch.rand(len(chosen)).tolist()
        texts = [
            names[i] if u >= pair.rephrased else ways[i][int(u / pair.rephrased * len(ways[i]))]
            for i, u in zip(chosen, said)
        ]
        with autocast(options.device):
            seen = towers.encode_pictures(distort(pictures[index], mirrors[index]))
            read = towers.encode_texts(texts)
        logits = towers.log_scale.exp().clamp(max=100) * seen @ read.T
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(towers.parameters(), 1.0)
        optimizer.step()
        schedule.tick()
        ema.update(towers, schedule.step)
        losses.append(loss.item())
        if schedule.step % 50 == 0:
            recent = losses[-50:]
            print(f'{schedule.step} {schedule.used / 60:.1f} min loss {sum(recent) / len(recent):.4f}', flush=True)
        if time.time() - saved > options.save_every:
            checkpoint()
            saved = time.time()
    checkpoint()


def options_of(steps: int) -> argparse.Namespace:
    """The command line of such a training."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--minutes', type=float, default=0, help='a budget of running time instead of steps')
    parser.add_argument('--steps', type=int, default=steps)
    parser.add_argument('--batch', type=int, default=256)
    parser.add_argument('--rate', type=float, default=2e-3)
    parser.add_argument('--device', default='cpu', choices=['cpu'])
    parser.add_argument('--save-every', type=float, default=120, help='seconds')
    parser.add_argument('--fresh', action='store_true')
    options = parser.parse_args()
    if options.minutes:
        options.steps = None
    return options
