"""Does everything in order: pictures, autoencoder, decoder polish, U-Net, classifier, export, recorded
samples, model card.

usage: python3 train.py --out DIR [--device cpu|cuda] [--vae-minutes 45] [--unet-minutes 70]
    [--classifier-minutes 14]
Every step goes on from where it was; a finished one is over at once.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def step(script: str, *arguments: object) -> None:
    print('==', script, *arguments, flush=True)
    subprocess.run([sys.executable, str(HERE / script), *map(str, arguments)], check=True)


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--weights', type=Path, default=HERE.parent / 'weights' / 'emoji')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--vae-minutes', type=float, default=45)
    parser.add_argument('--polish-minutes', type=float, default=10)
    parser.add_argument('--unet-minutes', type=float, default=70)
    parser.add_argument('--classifier-minutes', type=float, default=14)
    options = parser.parse_args()
    out, weights = ('--out', options.out), ('--weights', options.weights)
    if not (options.out / 'data' / 'emoji.npz').exists():
        step('data.py', *out)
    step('vae.py', *out, '--minutes', options.vae_minutes, '--device', options.device)
    if not (options.out / 'vae-before-polish.pt').exists():
        step('polish.py', *out, '--minutes', options.polish_minutes, '--device', options.device)
    step('unet.py', *out, '--minutes', options.unet_minutes, '--device', options.device)
    if not (options.out / 'classifier.pt').exists():
        step('classifier.py', 'train', *out, '--minutes', options.classifier_minutes)
    step('export.py', *out, *weights)
    step('reference.py', *out, *weights)
    step('classifier.py', 'judge', *out, *weights)
    step('card.py', *out, *weights)
