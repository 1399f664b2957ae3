"""Writes the model card of text -> emoji (README.md), the curves (curves.png) and a sheet of samples (samples.png).

usage: python3 text_card.py --out DIR [--weights ../weights/emoji-text]      after text_export.py, text_reference.py and
    text_figures.py
"""

import argparse
import json
from pathlib import Path

import matplotlib
import torch
from torch import Tensor

import captions
from common import prepare
from models import parameters_of
from text_export import WEIGHTS, read_pipeline
from text_sample import noise_of, sample

matplotlib.use('Agg')
from matplotlib import pyplot  # noqa: E402  (the backend must be chosen first)

CARD = '''---
license: other
license_name: see-below
tags: [text-to-image, stable-diffusion, latent-diffusion, webgpu]
---
# Emoji from words: a small text-to-image latent diffusion model

Draws a 64x64 emoji from its name. A `StableDiffusionPipeline` folder of {size:.1f} MB with a tokenizer, a text
encoder and a U-Net of its own, trained from nothing on {cpus} (the autoencoder is that of `../emoji`).

![samples; the last three rows were never seen in training](samples.png)

The last three rows are combinations that no training ever saw.

| part | class | weights | what it does |
| --- | --- | --- | --- |
| `tokenizer/` | CLIPTokenizer | | byte-level pairs, {vocabulary:,} tokens, {length} per text |
| `text_encoder/` | CLIPTextModel | {text_weights:,} | {text_layers} causal layers of {text_width} channels |
| `unet/` | UNet2DConditionModel | {unet_weights:,} | velocity; looks at all {length} text states |
| `vae/` | AutoencoderKL | {vae_weights:,} | 64x64x3 to 16x16x4 and back; `scaling_factor` {scaling} |
| `scheduler/` | DDIMScheduler | | `squaredcos_cap_v2`, `v_prediction`, trailing spacing |

## Use
```js
const pipe = await Pipeline.fromPretrained('weights/emoji-text');
const {{ images }} = await pipe({{ prompt: 'red heart', numInferenceSteps: {steps}, guidanceScale: {guidance} }});
```
Texts are names as Unicode's list has them ("thumbs up: dark skin tone", "flag: Kenya"), in any case; "Kenya
flag" works too. The empty text is what guidance leaves. `../emoji-text-reference` holds what
PyTorch makes of these weights in f32: ids, text states, latents and pictures.

## Figures
A second pair of encoders, a picture and a text network trained apart with another seed, other shapes and all names,
looks at a generated picture and ranks the names.

{figures}

A family is all names that differ in skin tone alone; plain names are those without skin tone.
Command (in `training/`): `python3 text_figures.py --out DIR --count {count} --held-each {held_each} --guidance
{guidance}`. Guidance was not tuned.

## Combinations never seen
{held_count} names were kept from text encoder and U-Net, while their halves were there with other partners: a
colour with other shapes, a gesture with other skin tones. {held_each} pictures of each, ranked among all names:

{held}

Skin tones carry over to other gestures. A colour is right, but its shape is often that of another thing of this
colour: "purple heart" becomes a purple square, and counts as found since its name is among the five.

## Data and licences
- Pictures: all {pictures:,} fully-qualified emoji of Noto Color Emoji {font_version}(SIL Open Font
  License 1.1, copyright Google), its 136x128 bitmaps resized to 64x64 on white. The autoencoder has not seen 5 % of
  them; text encoder and U-Net have seen all but the combinations above.
- Names and groups: Unicode's `emoji-test.txt`, version 15.0 (Unicode License).
- The weights and this card are under the project's licence; the pictures the model was trained on keep theirs.

## Training
| | text encoder | U-Net |
| --- | --- | --- |
| steps x batch | {text_steps:,} x {text_batch} | {unet_steps:,} x {unet_batch} |
| minutes on {cpus}, shared | {text_minutes:.0f} | {unet_minutes:.0f} |
| loss | contrastive, with a picture encoder, not kept | v, weights min(SNR + 1, 5) / (SNR + 1), at first min-SNR |
| optimiser | AdamW {text_rate:g}, cosine to 0, EMA 0.995 | AdamW {unet_rate:g}, {unet_schedule}, EMA 0.999 |
| captions | the name; 40 % another way to say it | the name; 30 % another way to say it; 12 % none |

The U-Net's residual blocks started from those of `../emoji/unet`. bf16 arithmetic with f32 weights; a name with n
variants of skin tone drawn in proportion to the root of n; pictures mirrored except symbols, flags and names with a
left or a right. The text encoder finds {text_top5:.1f} % of the seen names (of 512) and {text_top5_held:.1f} % of the
held-out combinations among the five most like a picture, of all {pictures:,}.

![curves](curves.png)

## Limits
It knows names of emoji and what they are made of, not language: other words steer it by their pieces. {pictures:,}
pictures are few, so a sample of a known name is close to the emoji of that name. Rare shapes are soft or wrong,
writing and fine detail are blurred; people in groups lose parts. Not a general image model.
'''

SHEET = (
    'red heart; green heart; blue heart; broken heart; red circle; green circle; orange square; large orange diamond; '
    'grinning face with smiling eyes; smiling face with sunglasses; angry face; cat with tears of joy; ghost; robot; '
    'alien; skull; '
    'thumbs up: light skin tone; thumbs up: medium skin tone; waving hand: dark skin tone; victory hand; '
    'woman astronaut; man cook: medium skin tone; person in lotus position; family: man, woman, girl, boy; '
    'tiger face; penguin; octopus; butterfly; sunflower; mushroom; rainbow; crescent moon; '
    'pizza; hamburger; strawberry; watermelon; birthday cake; hot beverage; avocado; ice cream; '
    'sailboat; airplane; locomotive; house; basketball; guitar; umbrella; alarm clock; '
    'flag: Japan; flag: Brazil; flag: Kenya; flag: Canada; keycap: 5; four o’clock; Leo; right arrow'
).split('; ')
SHEET_COLUMNS = 8
SHEET_SEED = 0


def sheet(pictures: Tensor, names: list[str], path: Path) -> None:
    """Pictures [N, 3, 64, 64] in [0, 1] with their names below."""
    rows = len(names) // SHEET_COLUMNS
    figure, axes = pyplot.subplots(rows, SHEET_COLUMNS, figsize=(SHEET_COLUMNS * 1.2, rows * 1.35), dpi=80)
    for axis, picture, name in zip(axes.flat, pictures, names):
        axis.imshow(picture.permute(1, 2, 0).numpy(), interpolation='bilinear')
        axis.axis('off')
        lines, line = [], ''
        for word in name.split():
            if line and len(line) + 1 + len(word) > 20:
                lines.append(line)
                line = word
            else:
                line = f'{line} {word}'.strip()
        axis.set_title('\n'.join([*lines, line]), fontsize=6, y=-0.02, va='top')
    figure.subplots_adjust(left=0.01, right=0.99, top=0.995, bottom=0.03, wspace=0.05, hspace=0.35)
    figure.savefig(path)
    pyplot.close(figure)


def curves(out: Path, path: Path) -> None:
    """The text encoder's loss and retrieval, and the U-Net's loss."""
    text, unet = (json.loads((out / f'{name}.json').read_text()) for name in ('text_encoder', 'text_unet'))
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.2), dpi=80)
    series = (
        (axes[0], 'text encoder: contrastive loss', {'': [(r['step'], r['loss']) for r in text]}),
        (
            axes[1],
            'text encoder: name among five, of all names',
            {
                label: [(r['step'], r['top5'][key]) for r in text]
                for key, label in (('seen', 'seen'), ('heldOut', 'held-out combinations'))
            },
        ),
        (axes[2], 'U-Net: mean squared error of v', {'': [(r['step'], r['loss']) for r in unet]}),
    )
    for axis, title, lines in series:
        for label, points in lines.items():
            axis.plot(*zip(*points), label=label or None)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel('steps')
        axis.grid(alpha=0.3)
        if len(lines) > 1:
            axis.legend(fontsize=8)
        else:
            axis.set_yscale('log')
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def percent(value: float) -> str:
    return f'{100 * value:.1f} %'


def figures_table(f: dict) -> str:
    """What the judge says of generated and of real pictures."""
    kinds = ('generated', 'real', 'throughAutoencoder')
    count, plain = f['generated']['allNames']['pictures'], f['generated']['plainNames']['pictures']
    rows = [
        (f"exact name of {f['names']:,} among the first five", 'allNames', 'top5'),
        ('exact name first', 'allNames', 'top1'),
        (f"family of {f['families']:,} among the first five", 'allNames', 'familyTop5'),
        ('family first', 'allNames', 'familyTop1'),
        (f"plain name of {f['plainNames']:,} among the first five", 'plainNames', 'top5'),
        ('plain name first', 'plainNames', 'top1'),
    ]
    head = ['| what | generated | real pictures | those through the autoencoder |', '| --- | --- | --- | --- |']
    body = [f"| {what} | {' | '.join(percent(f[kind][part][key]) for kind in kinds)} |" for what, part, key in rows]
    note = (
        f'\n{count} names drawn from all that were trained on, and {plain} plain ones; one picture each, '
        f"{f['steps']} DDIM steps, guidance {f['guidance']:g}, seed {f['seed']}."
    )
    return '\n'.join([*head, *body, note])


def held_table(f: dict) -> str:
    kinds = ('generated', 'real', 'throughAutoencoder')
    rows = [
        ('exact name among the first five', 'top5'),
        ('exact name first', 'top1'),
        ('family among the first five', 'familyTop5'),
        ('first among the combinations alone', 'top1AmongHeldOut'),
    ]
    head = ['| what | generated | real pictures | those through the autoencoder |', '| --- | --- | --- | --- |']
    body = [f"| {what} | {' | '.join(percent(f[kind]['heldOut'][key]) for kind in kinds)} |" for what, key in rows]
    each = f['generated']['heldOut']['top5PerName']
    names = '; '.join(f'{name} {100 * value:.0f} %' for name, value in each.items())
    return '\n'.join([*head, *body, f'\nExact name among the first five, each: {names}.'])


def write(options: argparse.Namespace) -> None:
    prepare('cpu')
    out, weights = options.out, options.weights
    pipe, measured = read_pipeline(weights), json.loads((out / 'figures.json').read_text())
    (weights / 'figures.json').write_text(json.dumps(measured, indent=2) + '\n')
    states = {name: torch.load(out / f'{name}.pt', map_location='cpu') for name in ('text_encoder', 'text_unet')}
    text, unet = states['text_encoder'], states['text_unet']
    emoji = captions.read(out / 'data')
    held = [e.name for e in emoji if e.held_out]
    names = [*SHEET, *held]
    noise = noise_of(len(names), SHEET_SEED)
    sheet(sample(pipe, names, noise, measured['steps'], measured['guidance']), names, weights / 'samples.png')
    curves(out, weights / 'curves.png')
    best = text['curve'][-1]['top5']
    stopped = unet['step'] < (options.schedule or 0)
    schedule = f"cosine, stopped at {unet['step']:,} of {options.schedule:,} steps" if stopped else 'cosine to 0'
    (weights / 'README.md').write_text(
        CARD.format(
            size=sum(f.stat().st_size for f in weights.rglob('*.safetensors')) / 1e6,
            cpus=options.hardware,
            vocabulary=len(pipe.tokenizer.vocab),
            length=pipe.tokenizer.length,
            text_weights=parameters_of(pipe.text),
            text_layers=pipe.text.config['num_hidden_layers'],
            text_width=pipe.text.config['hidden_size'],
            unet_weights=parameters_of(pipe.unet),
            vae_weights=parameters_of(pipe.vae),
            scaling=pipe.vae.config['scaling_factor'],
            steps=measured['steps'],
            guidance=f"{measured['guidance']:g}",
            figures=figures_table(measured),
            held_count=len(held),
            held_each=measured['generated']['heldOut']['pictures'] // len(held),
            held=held_table(measured),
            pictures=len(emoji),
            font_version=options.font_version,
            text_steps=text['step'],
            text_batch=text['batch'],
            text_minutes=text['used'] / 60,
            text_rate=text['rate'],
            text_top5=100 * best['seen'],
            text_top5_held=100 * best['heldOut'],
            unet_steps=unet['step'],
            unet_batch=unet['batch'],
            unet_minutes=unet['used'] / 60,
            unet_rate=unet['rate'],
            unet_schedule=schedule,
            count=measured['generated']['allNames']['pictures'],
        )
    )


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--weights', type=Path, default=WEIGHTS)
    parser.add_argument('--hardware', default='two CPU cores')
    parser.add_argument('--font-version', default='2.042 ')
    parser.add_argument('--schedule', type=int, help='steps of a U-Net schedule that was not finished')
    write(parser.parse_args())
