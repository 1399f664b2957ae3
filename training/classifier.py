"""An independent judge: a small CNN that tells the nine emoji groups apart, trained on the pictures alone.

usage: python3 classifier.py train --out DIR [--minutes 5]      writes DIR/classifier.pt
       python3 classifier.py judge --out DIR --weights ../weights/emoji [--each 32 --guidance 4 --steps 20]
                                                                writes DIR/figures.json
It never sees the autoencoder or the denoiser; noise and small shifts in training keep it from keying on exact
pixels.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import data
from common import Schedule, autocast, prepare, psnr
from export import read_denoiser, read_vae
from sample import sample
from vae import augment, reconstruct


class Classifier(nn.Module):
    """Four strided stages of convolution, batch norm and ReLU, then the mean: [B, 3, 64, 64] in [-1, 1] ->
    [B, 9].
    """

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96, 128)):
        super().__init__()
        layers: list[nn.Module] = []
        for cin, cout in zip((3, *widths), widths):
            layers += [
                nn.Conv2d(cin, cout, 3, stride=2, padding=1),
                nn.BatchNorm2d(cout),
                nn.ReLU(),
                nn.Conv2d(cout, cout, 3, padding=1),
                nn.BatchNorm2d(cout),
                nn.ReLU(),
            ]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(widths[-1], len(data.GROUPS)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


def distort(x: Tensor, mirror: Tensor) -> Tensor:
    """Mirroring, shifts, a little blur and noise, so that a soft picture is judged by what it shows."""
    x = augment(x, mirror)
    if torch.rand(()) < 0.5:
        x = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode='bilinear', align_corners=False)
    return x + 0.15 * torch.rand(()) * torch.randn_like(x)


@torch.no_grad()
def predict(model: Classifier, pictures: Tensor) -> Tensor:
    """Group of each picture, [N]."""
    return torch.cat([model(part).argmax(1) for part in pictures.split(64)])


def train(options: argparse.Namespace) -> None:
    prepare('cpu')
    torch.manual_seed(1)
    training, held = data.load(options.out / 'data', False), data.load(options.out / 'data', True)
    mirror = data.can_mirror(training.labels)
    weight = (torch.bincount(training.labels).float() ** -0.5)[training.labels]
    model = Classifier().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    schedule = Schedule(2e-3, options.minutes, None)
    while schedule.progress() < 1:
        for group in optimizer.param_groups:
            group['lr'] = schedule.rate()
        index = torch.multinomial(weight, 64, replacement=True)
        x = distort(training.pictures[index], mirror[index]).contiguous(memory_format=torch.channels_last)
        with autocast('cpu'):
            out = model(x)
        loss = F.cross_entropy(out.float(), training.labels[index], label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.tick()
    model.eval()
    accuracy = (predict(model, held.pictures) == held.labels).float().mean().item()
    seen = (predict(model, training.pictures) == training.labels).float().mean().item()
    print('steps', schedule.step, 'held-out accuracy', accuracy, 'training', seen)
    torch.save(
        {'model': model.state_dict(), 'steps': schedule.step, 'heldOut': accuracy, 'training': seen},
        options.out / 'classifier.pt',
    )


def judge(options: argparse.Namespace) -> None:
    prepare('cpu')
    state = torch.load(options.out / 'classifier.pt')
    model = Classifier()
    model.load_state_dict(state['model'])
    model.eval()
    vae, velocity = read_vae(options.weights), read_denoiser(options.weights)[0]
    held = data.load(options.out / 'data', True)
    quality = psnr(reconstruct(vae, held.pictures, 'cpu'), held.pictures)
    labels = torch.arange(len(data.GROUPS)).repeat_interleave(options.each)
    noise = torch.randn(len(labels), 4, 16, 16, generator=torch.Generator().manual_seed(options.seed))
    start = time.time()
    pictures = torch.cat(
        [
            sample(velocity, vae, part, x, options.steps, options.guidance)
            for part, x in zip(labels.split(72), noise.split(72))
        ]
    )
    right = (predict(model, pictures * 2 - 1) == labels).float()
    per_group = {name: right[labels == i].mean().item() for i, name in enumerate(data.GROUPS)}
    figures = {
        'vaeHeldOutPsnr': {
            'mean': quality.mean().item(),
            'worst': quality.min().item(),
            'median': quality.median().item(),
            'pictures': len(quality),
        },
        'classifierHeldOutAccuracy': state['heldOut'],
        'classifierSteps': state['steps'],
        'samplesInTheirGroup': {
            'all': right.mean().item(),
            'samples': len(labels),
            'steps': options.steps,
            'guidance': options.guidance,
            'seed': options.seed,
            **per_group,
        },
    }
    (options.out / 'figures.json').write_text(json.dumps(figures, indent=2))
    print(json.dumps(figures, indent=2), f'{time.time() - start:.0f} s')


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('action', choices=['train', 'judge'])
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--weights', type=Path, default=Path(__file__).parent.parent / 'weights' / 'emoji')
    parser.add_argument('--minutes', type=float, default=5)
    parser.add_argument('--each', type=int, default=32)
    parser.add_argument('--steps', type=int, default=20)
    parser.add_argument('--guidance', type=float, default=4.0)
    parser.add_argument('--seed', type=int, default=2)
    chosen = parser.parse_args()
    {'train': train, 'judge': judge}[chosen.action](chosen)
