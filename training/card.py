"""Writes the model card (README.md), the loss curves (curves.png) and a sheet of samples (samples.png).

usage: python3 card.py --out DIR --weights ../weights/emoji      after export.py, reference.py and
    classifier.py judge
"""

import argparse
import json
from pathlib import Path

import matplotlib
import torch

import data
from export import read_denoiser, read_vae
from latent_training import NULL
from models import parameters_of
from sample import sample, sheet

matplotlib.use('Agg')
from matplotlib import pyplot  # noqa: E402  (the backend must be chosen first)

CARD = '''---
license: other
license_name: see-below
tags: [class-conditional, {tag}, webgpu]
---
# Emoji: a small class-conditional {title}

Draws 64x64 emoji of nine groups. It exists so that an engine can be shown and tested on real weights of
{size:.1f} MB; it is trained from nothing on {cpus} in about {hours:.1f} hours.

![samples, one row per group](samples.png)

| part | class | weights | what it does |
| --- | --- | --- | --- |
| `vae/` | AutoencoderKL | {vae_weights:,} | 64x64x3 to 16x16x4 and back; `scaling_factor` {scaling}{vae_note} |
| `{folder}/` | {denoiser_class} | {denoiser_weights:,} | {denoiser_does}; labels 0-8, and {null} for "no group" |
| `scheduler/` | DDIMScheduler | | `squaredcos_cap_v2`, `v_prediction`, trailing spacing |

Labels are in `model_index.json` (`id2label`): {labels}.

## Use
Draw noise [B, 4, 16, 16], run {sampling_steps} DDIM steps with guidance {guidance} (v = v_null + g (v_label -
v_null)), divide by `scaling_factor`, decode, map [-1, 1] to [0, 1]. Weights are stored in f16;
computing in f32 gives the recorded samples of `../{name}-reference` (its `config.json` states the
arithmetic step by step).

## Data and licences
- Pictures: all {pictures:,} fully-qualified emoji of Noto Color Emoji {font_version}(SIL Open Font
  License 1.1, copyright Google), its 136x128 bitmaps resized to 64x64 on white. {held} of them (5 %,
  chosen by a hash of the name) were held out.
- Names and groups: Unicode's `emoji-test.txt`, version 15.0 (Unicode License).
- Nine groups; "Component" has no fully-qualified emoji. Training pictures per group: {counts}.
- The weights and this card are under the project's licence; the pictures the model was trained on keep
  theirs.

## Training
| | autoencoder | {denoiser} |
| --- | --- | --- |
| steps x batch | {vae_steps:,} x {vae_batch} | {denoiser_steps:,} x {denoiser_batch} |
| minutes on {cpus} | {vae_minutes:.0f} | {denoiser_minutes:.0f} |
| of these, decoder alone | {polish_steps:,} steps, {polish_minutes:.0f} minutes | |
| of these, a second schedule from the first one's weights | {vae_warm} | {denoiser_warm} |
| loss | L1 + 2 MSE + 1e-3 KL (2e-4 at first); decoder alone L1 + 4 MSE; second schedule L1 + 0.05 log MSE | {loss} |
| optimiser | AdamW 2e-3, cosine to 0, EMA 0.998; decoder alone 6e-4; second schedule 1e-3 | {optimiser} |

bf16 arithmetic with f32 weights; groups drawn in proportion to the root of their size; pictures
mirrored except symbols and flags; 12 % of labels dropped.

![loss curves](curves.png)

## Figures
{figures}

Commands (in `training/`): `python3 classifier.py train --out DIR`, then `python3 classifier.py judge
--out DIR{judge_options}`. The classifier is a separate CNN trained on the pictures only.

## Limits
{limits} The judge is itself wrong about one
unseen picture in six. {pictures:,} pictures are few: the model partly remembers its training set, and a sample may be a
close copy of an emoji. More than half of the set are variants (skin tone, gender) of the same pictures,
so held-out pictures often have near relatives in training and the held-out figures flatter the model.
Fine detail and writing are blurred. Not a general image model.
'''

# What the card says of each denoiser, by the name of its checkpoint.
KINDS = {
    'unet': {
        'tag': 'latent-diffusion',
        'title': 'latent diffusion model',
        'denoiser': 'U-Net',
        'folder': 'unet',
        'denoiser_class': 'UNet2DModel',
        'denoiser_does': 'velocity',
        'vae_note': '',
        'loss': 'v, min-SNR weights (5)',
        'optimiser': 'AdamW 1e-3, cosine to 0, EMA 0.999; second schedule 6e-4',
        'limits': 'Faces, people, clocks, signs and flags are recognised at a glance; many animals, foods and objects '
        'have\nthe right colours and texture but no clear shape: training was short.',
    },
    'dit': {
        'tag': 'diffusion-transformer',
        'title': 'diffusion transformer',
        'denoiser': 'transformer',
        'folder': 'transformer',
        'denoiser_class': 'DiTTransformer2DModel',
        'denoiser_does': 'velocity, and the variance of each step',
        'vae_note': '; the one of `../emoji`',
        'loss': 'v, weights min(SNR + 1, 5) / (SNR + 1) (for the first 9,325 steps min(SNR, 5) / (SNR + 1)); '
        'variance: 0.1 x the variational bound',
        'optimiser': 'AdamW 1e-3, cosine to 0, EMA 0.999',
        'limits': 'Guidance was chosen among 5, 7 and 9 with 90 samples of another seed (82, 86 and 83 %). Faces, people,\n'
        'flags and signs are recognised at a glance; many animals, foods and objects have the right colours but no\n'
        'clear shape: training was short.',
    },
}


def kind_of(out: Path) -> str:
    """The denoiser that a training folder holds."""
    return next(name for name in KINDS if (out / f'{name}.pt').exists())


def curves(out: Path, path: Path) -> None:
    """Held-out PSNR and both losses over steps."""
    kind = kind_of(out)
    # A folder of a later training links to the autoencoder of an earlier one, and its curve lies beside that.
    logs = (out / 'vae.pt').resolve().with_suffix('.json'), out / f'{kind}.json'
    vae, denoiser = (json.loads(log.read_text()) for log in logs)
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.2), dpi=80)
    for axis, rows, key, title in (
        (axes[0], vae, 'psnr', 'autoencoder: held-out PSNR, dB'),
        (axes[1], vae, 'loss', 'autoencoder: training loss'),
        (axes[2], denoiser, 'loss', f"{KINDS[kind]['denoiser']}: mean squared error of v"),
    ):
        points = [(r['step'], r[key]) for r in rows if r[key] is not None]
        axis.plot(*zip(*points), color='#1f6f8b')
        axis.set_title(title, fontsize=10)
        axis.set_xlabel('steps')
        axis.grid(alpha=0.3)
        if key == 'loss':
            axis.set_yscale('log')
    figure.tight_layout()
    figure.savefig(path)


def figures_table(figures: dict) -> str:
    """The measured figures as a table."""
    vae, group = figures['vaeHeldOutPsnr'], dict(figures['samplesInTheirGroup'])
    head = (
        f"{group.pop('samples')} samples, {group.pop('steps')} DDIM steps, "
        f"guidance {group.pop('guidance'):g}, seed {group.pop('seed')}"
    )
    rows = [
        (
            'held-out reconstruction, PSNR, mean / median / worst of ' + str(vae['pictures']),
            f"{vae['mean']:.2f} / {vae['median']:.2f} / {vae['worst']:.2f} dB",
        ),
        (f'samples classified into their group ({head})', f"{100 * group.pop('all'):.1f} %"),
        ('the classifier itself on held-out pictures', f"{100 * figures['classifierHeldOutAccuracy']:.1f} %"),
    ]
    rows += [(f'- {name}', f'{100 * value:.0f} %') for name, value in group.items()]
    return '\n'.join(['| what | measured |', '| --- | --- |'] + [f'| {a} | {b} |' for a, b in rows])


def write(options: argparse.Namespace) -> None:
    out, weights = options.out, options.weights
    index = json.loads((weights / 'model_index.json').read_text())
    kind = kind_of(out)
    velocity, network = read_denoiser(weights)
    vae = read_vae(weights)
    figures = json.loads((out / 'figures.json').read_text())
    (weights / 'figures.json').write_text(json.dumps(figures, indent=2) + '\n')
    guidance, sampling_steps = (figures['samplesInTheirGroup'][key] for key in ('guidance', 'steps'))
    states = {name: torch.load(out / f'{name}.pt', map_location='cpu') for name in ('vae', kind)}
    training, held = data.load(out / 'data', False), data.load(out / 'data', True)
    before = {name: s.get('before', {'step': 0, 'minutes': 0}) for name, s in states.items()}
    polish = states['vae'].get('polish') or before['vae'].get('polish', {'steps': 0, 'minutes': 0})
    steps = {name: before[name]['step'] + s['step'] for name, s in states.items()}
    minutes = {name: before[name]['minutes'] + s['used'] / 60 for name, s in states.items()}
    counts = torch.bincount(training.labels).tolist()
    curves(out, weights / 'curves.png')

    def warm(name: str) -> str:
        """How much of the training started again from weights that were there."""
        if not before[name]['step']:
            return ''
        return f"{states[name]['step']:,} steps, {states[name]['used'] / 60:.0f} minutes"

    labels = torch.arange(len(data.GROUPS)).repeat_interleave(10)
    noise = torch.randn(len(labels), 4, 16, 16, generator=torch.Generator().manual_seed(0))
    sheet(sample(velocity, vae, labels, noise, sampling_steps, guidance), 10, weights / 'samples.png')
    size = sum(f.stat().st_size for f in weights.rglob('*.safetensors'))
    (weights / 'README.md').write_text(
        CARD.format(
            **KINDS[kind],
            name=weights.name,
            size=size / 1e6,
            cpus=options.hardware,
            guidance=f'{guidance:g}',
            sampling_steps=sampling_steps,
            null=NULL,
            hours=sum(minutes.values()) / 60,
            vae_weights=parameters_of(vae),
            denoiser_weights=parameters_of(network),
            scaling=vae.config['scaling_factor'],
            labels=', '.join(f'{k} {v}' for k, v in index['id2label'].items()),
            font_version=options.font_version,
            pictures=len(training.labels) + len(held.labels),
            held=len(held.labels),
            counts=', '.join(f'{name} {n}' for name, n in zip(data.GROUPS, counts)),
            polish_steps=polish['steps'],
            polish_minutes=polish['minutes'],
            vae_steps=steps['vae'],
            vae_batch=states['vae']['batch'],
            vae_minutes=minutes['vae'],
            vae_warm=warm('vae'),
            denoiser_steps=steps[kind],
            denoiser_batch=states[kind]['batch'],
            denoiser_minutes=minutes[kind],
            denoiser_warm=warm(kind),
            judge_options='' if weights.name == 'emoji' else f' --weights ../weights/{weights.name}',
            figures=figures_table(figures),
        )
    )


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--weights', type=Path, default=Path(__file__).parent.parent / 'weights' / 'emoji')
    parser.add_argument('--hardware', default='two CPU cores')
    parser.add_argument('--font-version', default='2.042 ')
    write(parser.parse_args())
