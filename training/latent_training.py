"""Training of a denoiser on the autoencoder's latents (16x16x4), v-prediction on the cosine schedule: what unet.py,
dit.py and text_unet.py share.

Salimans & Ho 2022 (v), Hang et al. 2023 (min-SNR weights), Ho & Salimans 2022 (label dropout for guidance).
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

import data
from common import Ema, Schedule, autocast, load_checkpoint, prepare, save_checkpoint, warm_start, whole_curve
from diffusion import TRAIN_STEPS, alphas_cumprod
from fold import load_vae
from models import parameters_of
from team import Team

NULL = len(data.GROUPS)
LABEL_DROP = 0.12
BALANCE = 0.5  # a group is drawn in proportion to (its size) ** BALANCE
MAX_SNR = 5.0


@dataclass
class Noised:
    """Latents x0 [B, 4, 16, 16], x with their noise at timesteps t [B], and the velocity."""

    x0: Tensor
    x: Tensor
    v: Tensor
    t: Tensor


@torch.no_grad()
def latents_of(out: Path, pictures: Tensor, device: str) -> Tensor:
    """Scaled posterior means, [N, 4, 16, 16] f32."""
    vae = load_vae(out).to(device)
    means = torch.cat([vae.encode(part.to(device))[0].cpu() for part in pictures.split(64)])
    return means * vae.config['scaling_factor']


def training_set(options: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor]:
    """Latents with their mirror images, labels, and how often each is drawn."""
    cache, key = options.out / 'latents.pt', json.loads((options.out / 'fold.json').read_text())['key']
    if cache.exists() and (known := torch.load(cache))['key'] == key:
        return known['examples']
    training = data.load(options.out / 'data', False)
    mirrored = data.can_mirror(training.labels)
    plain = latents_of(options.out, training.pictures, options.device)
    flipped = latents_of(options.out, training.pictures[mirrored].flip(3), options.device)
    labels = torch.cat([training.labels, training.labels[mirrored]])
    # A mirrored pair counts as one picture, so that mirroring does not change how often a picture is seen.
    weight = torch.cat([torch.where(mirrored, 0.5, 1.0), torch.full((len(flipped),), 0.5)])
    sizes = torch.zeros(NULL).index_add_(0, labels, weight)
    examples = torch.cat([plain, flipped]), labels, weight * (sizes ** (BALANCE - 1))[labels]
    torch.save({'key': key, 'examples': examples}, cache)
    return examples


def min_snr(snr: Tensor) -> Tensor:
    """The min-SNR weight of x0, expressed for v: close to none where there is almost only noise."""
    return snr.clamp(max=MAX_SNR) / (snr + 1)


def even_noise(snr: Tensor) -> Tensor:
    """As `min_snr` where there is little noise, and 1 in the noisier half, where the condition decides what the picture
    will be.
    """
    return (snr + 1).clamp(max=MAX_SNR) / (snr + 1)


@dataclass
class Task:
    """What is trained. `name`: of the checkpoint; `extra_loss(out, noised)`: added to the loss, for what a network says
    beside the velocity (its first four channels); `null`: the label that stands for none; `examples(options)`: latents,
    labels and how often each is drawn; `weight(snr)`: of the squared error of v; `skew`: timesteps are u ** skew of
    uniform u, below 1 more of the noisy ones; `condition(options)`: makes of labels [B] what the network takes;
    `warm(path, model, ema)`: starts from another run.
    """

    name: str
    config: dict
    model: Callable[[dict], nn.Module]
    extra_loss: Callable[[Tensor, Noised], Tensor] | None = None
    null: int = NULL
    examples: Callable[[argparse.Namespace], tuple[Tensor, Tensor, Tensor]] = training_set
    weight: Callable[[Tensor], Tensor] = min_snr
    skew: float = 1.0
    condition: Callable[[argparse.Namespace], Callable[[Tensor], Tensor]] | None = None
    warm: Callable[[Path, nn.Module, Ema], dict] = warm_start


def train(rank: int, options: argparse.Namespace, task: Task, team: Team, examples: tuple[Tensor, ...]) -> None:
    """One process of the team; rank 0 also keeps the averages, the curve and the checkpoints."""
    device, batch = options.device, options.batch // team.ranks
    if device == 'cpu':
        torch.set_num_threads(options.threads)
    latents, labels, weight = examples
    torch.manual_seed(0)
    model = task.model(task.config).to(device, memory_format=torch.channels_last)
    ema = Ema(model, 0.999)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=1e-2)
    schedule = Schedule(options.rate, options.minutes, options.steps)
    path = options.out / f'{task.name}.pt'
    state = {} if options.fresh else load_checkpoint(path, model, ema, optimizer, schedule)
    curve, losses, saved = state.get('curve', []), [], time.time()
    before = state.get('before', {'step': 0, 'minutes': 0.0, 'curve': []})
    if options.warm and not state:
        before = task.warm(options.warm, model, ema)
    condition = task.condition(options) if task.condition else None
    torch.manual_seed(schedule.step * team.ranks + rank)
    print(parameters_of(model), 'weights,', len(labels), 'latents, from step', schedule.step, flush=True)
    bars = alphas_cumprod()
    snr_weight = task.weight(bars / (1 - bars))

    def checkpoint() -> None:
        loss = sum(losses) / max(1, len(losses))
        curve.append({'step': schedule.step, 'minutes': schedule.used / 60, 'loss': loss})
        losses.clear()
        whole = batch * team.ranks
        rest = {'curve': curve, 'before': before, 'config': task.config, 'batch': whole, 'rate': options.rate}
        save_checkpoint(path, model, ema, optimizer, schedule, **rest)
        path.with_suffix('.json').write_text(json.dumps(whole_curve(before, curve), indent=0))
        print(json.dumps(curve[-1]), f'lr {schedule.rate():.2e}', flush=True)

    if schedule.progress() >= 1:
        return
    schedule.last = time.time()
    while schedule.progress() < 1:
        index = torch.multinomial(weight, batch, replacement=True)
        x0, label = latents[index], labels[index]
        label = torch.where(torch.rand(batch) < LABEL_DROP, task.null, label)
        given = (condition(label) if condition else label).to(device)
        # Stratified over the batch: every step sees all noise levels, which calms the gradient.
        u = (torch.arange(batch) + torch.rand(batch)) / batch
        t = (u**task.skew * TRAIN_STEPS).long().clamp(max=TRAIN_STEPS - 1)
        a = bars[t][:, None, None, None]
        noise = torch.randn_like(x0)
        x, v = a.sqrt() * x0 + (1 - a).sqrt() * noise, a.sqrt() * noise - (1 - a).sqrt() * x0
        x0, x, v = (z.to(device).contiguous(memory_format=torch.channels_last) for z in (x0, x, v))
        with autocast(device):
            out = model(x, t.to(device), given).float()
        error = (out[:, : v.shape[1]] - v).pow(2).mean(dim=(1, 2, 3))
        loss = (snr_weight[t].to(device) * error).mean()
        if task.extra_loss is not None:
            loss = loss + task.extra_loss(out, Noised(x0, x, v, t.to(device)))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        schedule.tick()
        schedule.used = team.average(rank, model, schedule.used)
        for group in optimizer.param_groups:
            group['lr'] = schedule.rate()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if rank > 0:
            continue
        ema.update(model, schedule.step)
        losses.append(error.mean().item())
        if schedule.step % 100 == 0:
            print(
                f'{schedule.step} {schedule.used / 60:.1f} min '
                f'v-error {sum(losses[-100:]) / len(losses[-100:]):.4f}',
                flush=True,
            )
        if time.time() - saved > options.save_every:
            checkpoint()
            saved = time.time()
    if rank == 0:
        checkpoint()


def run(task: Task, options: argparse.Namespace) -> None:
    """Trains until the budget is used."""
    prepare(options.device)
    load_vae(options.out)  # measures the latent statistics where this has not been done
    examples = task.examples(options)
    ranks = options.ranks if options.device == 'cpu' else 1
    team = Team(ranks, task.model(task.config))
    for rank in range(1, ranks):
        arguments = (rank, options, task, team, examples)
        mp.get_context('spawn').Process(target=train, args=arguments, daemon=True).start()
    train(0, options, task, team, examples)


def options_of(minutes: float) -> argparse.Namespace:
    """The command line of such a training."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--minutes', type=float, default=minutes)
    parser.add_argument('--steps', type=int)
    parser.add_argument('--batch', type=int, default=48)
    parser.add_argument('--rate', type=float, default=1e-3)
    parser.add_argument('--warm', type=Path, help='a checkpoint whose weights start this run')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--ranks', type=int, default=2, help='processes on a CPU')
    parser.add_argument('--threads', type=int, default=1, help='threads of each process on a CPU')
    parser.add_argument('--save-every', type=float, default=180, help='seconds')
    parser.add_argument('--fresh', action='store_true')
    return parser.parse_args()
