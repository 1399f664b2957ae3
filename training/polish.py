"""Trains the decoder a little further while the encoder stands still, so that known latents stay valid.

usage: python3 polish.py --out DIR [--minutes 8 | --steps N] [--device cpu|cuda]
Starts from the EMA weights of OUT/vae.pt and, where the held-out PSNR rose, puts the result back into it.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torch.multiprocessing as mp
import torch.nn.functional as F

import data
from common import Ema, Schedule, autocast, prepare, psnr
from models import AutoencoderKL
from team import Team
from vae import augment, reconstruct


def decoder_of(vae: AutoencoderKL) -> torch.nn.ModuleList:
    """The half that is trained: post_quant_conv and decoder."""
    return torch.nn.ModuleList([vae.post_quant_conv, vae.decoder])


def main(options: argparse.Namespace) -> None:
    prepare(options.device)
    ranks = options.ranks if options.device == 'cpu' else 1
    config = torch.load(options.out / 'vae.pt', map_location='cpu')['config']
    team = Team(ranks, decoder_of(AutoencoderKL(config)))
    for other in range(1, ranks):
        mp.get_context('spawn').Process(target=polish, args=(other, options, team), daemon=True).start()
    polish(0, options, team)


def polish(rank: int, options: argparse.Namespace, team: Team) -> None:
    """One process of the team; rank 0 also measures and writes."""
    device, batch = options.device, options.batch // team.ranks
    if device == 'cpu':
        torch.set_num_threads(options.threads)
    path = options.out / 'vae.pt'
    state = torch.load(path, map_location='cpu')
    torch.manual_seed(state['step'] * team.ranks + rank)
    training, held = data.load(options.out / 'data', False), data.load(options.out / 'data', True)
    mirror = data.can_mirror(training.labels)
    model = AutoencoderKL(state['config']).to(device, memory_format=torch.channels_last)
    model.load_state_dict(state['ema'])
    ema = Ema(model, 0.995)
    decoder = decoder_of(model)
    optimizer = torch.optim.AdamW(decoder.parameters(), betas=(0.9, 0.99), weight_decay=1e-3)
    schedule = Schedule(options.rate, options.minutes, options.steps)

    def quality() -> float:
        return psnr(reconstruct(ema.model, held.pictures, device), held.pictures).mean().item()

    before, saved, losses = quality() if rank == 0 else 0.0, time.time(), []
    print('before', before, flush=True)
    schedule.last = time.time()
    while schedule.progress() < 1:
        index = torch.randint(len(training.labels), (batch,))
        x = augment(training.pictures[index], mirror[index]).to(device)
        x = x.contiguous(memory_format=torch.channels_last)
        with autocast(device):
            with torch.no_grad():
                mean, logvar = model.encode(x)
                z = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
            y = model.decode(z).float()
        loss = F.l1_loss(y, x) + options.mse * F.mse_loss(y, x)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        schedule.tick()
        schedule.used = team.average(rank, decoder, schedule.used)
        for group in optimizer.param_groups:
            group['lr'] = schedule.rate()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        if rank > 0:
            continue
        ema.update(model, schedule.step)
        losses.append(loss.item())
        if time.time() - saved > 120:
            saved = time.time()
            print(schedule.step, sum(losses[-100:]) / len(losses[-100:]), quality(), flush=True)
    if rank > 0:
        return
    after = quality()
    print('after', after, 'steps', schedule.step, flush=True)
    if after > before:
        path.with_name('vae-before-polish.pt').write_bytes(path.read_bytes())
        row = {
            'step': state['step'] + schedule.step,
            'minutes': (state['used'] + schedule.used) / 60,
            'psnr': after,
            'loss': None,  # weighted otherwise than the joint training's: not one curve
        }
        state['curve'].append(row)
        known = state.get('polish', {'steps': 0, 'minutes': 0.0})
        state['polish'] = {
            'steps': known['steps'] + schedule.step,
            'minutes': known['minutes'] + schedule.used / 60,
        }
        state.update(ema=ema.model.state_dict(), step=row['step'], used=row['minutes'] * 60)
        torch.save(state, path)
        (options.out / 'vae.json').write_text(json.dumps(state['curve'], indent=0))


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--minutes', type=float, default=8)
    parser.add_argument('--steps', type=int)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--rate', type=float, default=6e-4)
    parser.add_argument('--mse', type=float, default=4.0, help='weight of the squared error beside L1')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--ranks', type=int, default=2, help='processes on a CPU')
    parser.add_argument('--threads', type=int, default=1, help='threads of each process on a CPU')
    main(parser.parse_args())
