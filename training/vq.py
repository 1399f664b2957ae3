"""Trains the autoencoder with a codebook 64x64x3 -> 16x16 indices, from the weights of the KL autoencoder.

usage: python3 vq.py --out DIR --kl OUT/vae.pt [--minutes 25 | --steps N] [--device cpu|cuda]
Needs DIR/data. Running it again goes on from DIR/vq.pt; --fresh starts over. At the end the entries are fitted once
more to the averaged encoder.
van den Oord et al. 2017 (straight-through gradients, commitment), Esser et al. 2021, without its adversarial terms.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import data
from codebook import Averages, k_means, lloyd, usage
from common import Ema, Schedule, autocast, load_checkpoint, prepare, psnr, save_checkpoint
from models import parameters_of
from vae import augment, reconstruction_loss
from vq_model import VQModel, as_rows, vq_config

CONFIG = vq_config([32, 64, 96], norm_num_groups=16, num_vq_embeddings=4096)
COMMITMENT = 0.25
LOG_MSE = 0.05
RESTARTS_UNTIL = 0.7  # of the schedule: late restarts would not be averaged any more
ROWS = 160_000  # latents that k-means looks at
BATCH = 64  # where nothing is learnt


@torch.no_grad()
def latents(model: VQModel, pictures: torch.Tensor, device: str) -> torch.Tensor:
    """Latents before quantisation, one row per cell [N h w, E]."""
    return torch.cat([as_rows(model.encode(part.to(device))) for part in pictures.split(BATCH)])


@torch.no_grad()
def reconstruct(model: VQModel, pictures: torch.Tensor, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures through the codebook in f32 [N, 3, 64, 64], and their indices [N, 16, 16], on the CPU."""
    out, codes = [], []
    for part in pictures.split(BATCH):
        codes.append(model.quantize.indices(model.encode(part.to(device))))
        out.append(model.decode_indices(codes[-1]).float().cpu())
    return torch.cat(out), torch.cat(codes).cpu()


@torch.no_grad()
def start_from(kl: Path, model: VQModel) -> None:
    """The KL autoencoder's averaged trunk; the convolutions that made its mean become one, exactly."""
    weights = torch.load(kl, map_location='cpu')['ema']
    n = model.config['latent_channels']
    to_mean = weights['quant_conv.weight'][:n, :, 0, 0]  # [n, 2n]
    weights['encoder.conv_out.bias'] = to_mean @ weights['encoder.conv_out.bias'] + weights['quant_conv.bias'][:n]
    weights['encoder.conv_out.weight'] = torch.einsum('nm,mcij->ncij', to_mean, weights['encoder.conv_out.weight'])
    weights['quant_conv.weight'], weights['quant_conv.bias'] = torch.eye(n)[..., None, None], torch.zeros(n)
    weights['quantize.embedding.weight'] = model.quantize.embedding.weight
    model.load_state_dict(weights)


@torch.no_grad()
def settle(model: VQModel, pictures: torch.Tensor, device: str, rounds: int) -> None:
    """Fits the entries to latents of every picture as the model's own encoder makes them."""
    x = latents(model, pictures, device)
    entries = model.quantize.embedding.weight
    entries.copy_(lloyd(x[torch.randperm(len(x))[: 4 * ROWS]], entries, rounds))


def train(options: argparse.Namespace) -> None:
    device = options.device
    prepare(device)
    torch.manual_seed(0)
    training, held = data.load(options.out / 'data', False), data.load(options.out / 'data', True)
    mirror = data.can_mirror(training.labels)
    model = VQModel(CONFIG)
    path = options.out / 'vq.pt'
    if options.fresh:
        path.unlink(missing_ok=True)
    if not path.exists():
        if options.kl is None:
            raise SystemExit(f'vq: no {path.name} to go on from; give --kl, the KL autoencoder to start from')
        start_from(options.kl, model)
    model.to(device, memory_format=torch.channels_last)
    entries = model.quantize.embedding.weight.requires_grad_(False)
    if not path.exists():
        some = training.pictures[torch.randperm(len(training.labels))[: len(training.labels) // 3]]
        x = latents(model, some, device)
        entries.copy_(k_means(x[torch.randperm(len(x))[:ROWS]], len(entries), 5))
    averages = Averages(entries, options.batch * CONFIG['sample_size'] ** 2 // 16)
    ema = Ema(model, 0.998)
    learnt = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, betas=(0.9, 0.99), weight_decay=1e-3)
    schedule = Schedule(options.rate, options.minutes, options.steps)
    state = load_checkpoint(path, model, ema, optimizer, schedule)
    if state:
        averages.load(state['averages'])
    curve, losses, saved, restarts = state.get('curve', []), [], time.time(), 0
    torch.manual_seed(schedule.step)
    print(parameters_of(model), 'weights,', len(training.labels), 'pictures, from step', schedule.step, flush=True)

    def checkpoint(**rest: object) -> None:
        pictures, codes = reconstruct(ema.model, held.pictures, device)
        db = psnr(pictures, held.pictures).mean().item()
        loss = sum(losses) / len(losses) if len(losses) >= 20 else None  # of a few steps: noise
        row = {'step': schedule.step, 'minutes': schedule.used / 60, 'psnr': db, 'loss': loss}
        curve.append({**row, 'heldOutCodes': usage(codes, len(entries))})
        losses.clear()
        save_checkpoint(
            path,
            model,
            ema,
            optimizer,
            schedule,
            curve=curve,
            config=CONFIG,
            batch=options.batch,
            rate=options.rate,
            averages=averages.state(),
            **rest,
        )
        (options.out / 'vq.json').write_text(json.dumps(curve, indent=0))
        print(json.dumps(curve[-1]), f'lr {schedule.rate():.2e}', flush=True)

    if state.get('settled'):
        return
    schedule.last = time.time()
    while schedule.progress() < 1:
        for group in optimizer.param_groups:
            group['lr'] = schedule.rate()
        index = torch.randint(len(training.labels), (options.batch,))
        x = augment(training.pictures[index], mirror[index]).to(device)
        x = x.contiguous(memory_format=torch.channels_last)
        with autocast(device):
            z = model.encode(x)
            codes = model.quantize.indices(z)
            zq = model.quantize.entries(codes)
            y = model.decode(z + (zq - z).detach()).float()
        commitment = F.mse_loss(z, zq.detach())
        loss = reconstruction_loss(y, x, 0.0, LOG_MSE)
        optimizer.zero_grad(set_to_none=True)
        (loss + COMMITMENT * commitment).backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        restarts += averages.update(
            entries, as_rows(z.detach()), codes.flatten(), schedule.progress() < RESTARTS_UNTIL
        )
        schedule.tick()
        ema.update(model, schedule.step)
        losses.append(loss.item())
        if schedule.step % 50 == 0:
            print(
                f'{schedule.step} {schedule.used / 60:.1f} min loss {sum(losses[-50:]) / len(losses[-50:]):.4f} '
                f'commitment {commitment.item():.4f} std {z.std().item():.2f} restarts {restarts}',
                flush=True,
            )
            restarts = 0
        if time.time() - saved > options.save_every:
            checkpoint()
            saved = time.time()
    checkpoint()
    settle(ema.model, training.pictures, device, 3)
    checkpoint(settled=True)


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--kl', type=Path, help='checkpoint of the KL autoencoder to start from')
    parser.add_argument('--minutes', type=float, default=25)
    parser.add_argument('--steps', type=int)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--rate', type=float, default=1e-3)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--save-every', type=float, default=240, help='seconds')
    parser.add_argument('--fresh', action='store_true')
    train(parser.parse_args())
