"""Trains the KL autoencoder 64x64x3 -> 16x16x4. Rombach et al. 2022, without its perceptual and adversarial
terms.

usage: python3 vae.py --out DIR [--minutes 42 | --steps N] [--log-mse W] [--device cpu|cuda]
Running it again goes on from DIR/vae.pt; --fresh starts over; --warm OLD.pt starts a new schedule from old weights.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import data
from common import Ema, Schedule, autocast, load_checkpoint, prepare, psnr, save_checkpoint, warm_start, whole_curve
from models import AutoencoderKL, parameters_of, vae_config

CONFIG = vae_config([32, 64, 96], norm_num_groups=16)
KL_WEIGHT = 1e-3


def augment(x: torch.Tensor, mirror: torch.Tensor) -> torch.Tensor:
    """Mirrors half of the pictures that may be, and moves each by up to two pixels over white."""
    flip = mirror & (torch.rand(len(x), device=x.device) < 0.5)
    x = torch.where(flip[:, None, None, None], x.flip(3), x)
    dx, dy = torch.randint(0, 5, (2,)).tolist()
    return F.pad(x, (2, 2, 2, 2), value=1.0)[:, :, dy : dy + x.shape[2], dx : dx + x.shape[3]]


def reconstruction_loss(y: torch.Tensor, x: torch.Tensor, mse: float, log_mse: float) -> torch.Tensor:
    """L1 + mse * MSE + log_mse * mean over pictures of log MSE; the last is the likelihood of a Gaussian whose
    variance fits each picture best (Rybkin et al. 2021, sigma-VAE), and what PSNR measures.
    """
    loss = F.l1_loss(y, x) + mse * F.mse_loss(y, x)
    if log_mse:
        errors = (y.clamp(-1, 1) - x).pow(2).flatten(1).mean(1)
        loss = loss + log_mse * (errors + 1e-6).log().mean()
    return loss


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, pictures: torch.Tensor, device: str, batch: int = 64) -> torch.Tensor:
    """decode(mean of encode(pictures)) in f32 [N, 3, 64, 64], on the CPU."""
    return torch.cat(
        [vae.decode(vae.encode(part.to(device))[0]).float().cpu() for part in pictures.split(batch)]
    )


def train(options: argparse.Namespace) -> None:
    device = options.device
    prepare(device)
    torch.manual_seed(0)
    training, held = data.load(options.out / 'data', False), data.load(options.out / 'data', True)
    mirror = data.can_mirror(training.labels)
    model = AutoencoderKL(CONFIG).to(device, memory_format=torch.channels_last)
    ema = Ema(model, 0.998)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=1e-3)
    schedule = Schedule(options.rate, options.minutes, options.steps)
    path = options.out / 'vae.pt'
    state = {} if options.fresh else load_checkpoint(path, model, ema, optimizer, schedule)
    curve, losses, saved = state.get('curve', []), [], time.time()
    before = state.get('before', {'step': 0, 'minutes': 0.0, 'curve': []})
    if options.warm and not state:
        before = warm_start(options.warm, model, ema)
    torch.manual_seed(schedule.step)
    print(
        parameters_of(model),
        'weights,',
        len(training.labels),
        'pictures, from step',
        schedule.step,
        flush=True,
    )

    def checkpoint() -> None:
        db = psnr(reconstruct(ema.model, held.pictures, device), held.pictures).mean().item()
        curve.append(
            {
                'step': schedule.step,
                'minutes': schedule.used / 60,
                'psnr': db,
                'loss': sum(losses) / max(1, len(losses)),
            }
        )
        losses.clear()
        save_checkpoint(
            path, model, ema, optimizer, schedule, curve=curve, before=before, config=CONFIG, batch=options.batch
        )
        (options.out / 'vae.json').write_text(json.dumps(whole_curve(before, curve), indent=0))
        print(json.dumps(curve[-1]), f'lr {schedule.rate():.2e}', flush=True)

    if schedule.progress() >= 1:
        return
    schedule.last = time.time()
    while schedule.progress() < 1:
        for group in optimizer.param_groups:
            group['lr'] = schedule.rate()
        index = torch.randint(len(training.labels), (options.batch,))
        x = (
            augment(training.pictures[index], mirror[index])
            .to(device)
            .contiguous(memory_format=torch.channels_last)
        )
        with autocast(device):
            mean, logvar = model.encode(x)
            y = model.decode(mean + (0.5 * logvar).exp() * torch.randn_like(mean)).float()
        kl = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).mean()
        loss = reconstruction_loss(y, x, options.mse, options.log_mse)
        optimizer.zero_grad(set_to_none=True)
        (loss + KL_WEIGHT * kl).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.tick()
        ema.update(model, schedule.step)
        losses.append(loss.item())
        if schedule.step % 50 == 0:
            print(
                f'{schedule.step} {schedule.used / 60:.1f} min '
                f'loss {sum(losses[-50:]) / len(losses[-50:]):.4f} '
                f'kl {kl.item():.2f} std {mean.std().item():.2f}',
                flush=True,
            )
        if time.time() - saved > options.save_every:
            checkpoint()
            saved = time.time()
    checkpoint()


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--minutes', type=float, default=42)
    parser.add_argument('--steps', type=int)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--rate', type=float, default=2e-3)
    parser.add_argument('--mse', type=float, default=2.0, help='weight of the squared error beside L1')
    parser.add_argument('--log-mse', type=float, default=0.0, help='weight of its logarithm, picture by picture')
    parser.add_argument('--warm', type=Path, help='a checkpoint whose weights start this run')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--save-every', type=float, default=150, help='seconds')
    parser.add_argument('--fresh', action='store_true')
    train(parser.parse_args())
