"""Records what PyTorch makes of the exported text -> emoji, so that another engine can be compared with it.

usage: python3 text_reference.py [--weights ../weights/emoji-text --guidance 4]
writes WEIGHTS-reference/io.safetensors and WEIGHTS-reference/config.json (which states prompts and arithmetic).
Weights are the exported f16 values, everything is computed in f32 on the CPU.
"""

import argparse
from pathlib import Path

import torch

import reference
import safetensors_io
from common import prepare
from diffusion import ddim, guided, timesteps
from export import write_json
from sample import decode
from text_export import WEIGHTS, read_pipeline
from text_sample import noise_of

STEPS, GUIDANCE, SEED = 20, 4.0, 0
PROMPTS = [
    'red heart',
    'thumbs up: medium skin tone',
    'grinning face with smiling eyes',
    'purple heart',  # never seen in training
    'waving hand: medium-light skin tone',  # never seen in training
    'a pizza and two cats, please',
]
ARITHMETIC = {
    **{key: reference.ARITHMETIC[key] for key in ('timesteps', 'step', 'latents', 'image')},
    'noise': 'torch.randn(prompts, 4, 16, 16, generator=torch.Generator().manual_seed(seed)), CPU, f32',
    'text': 'in.inputIds, padded with the end token to model_max_length; out.hiddenStates: behind the last norm, '
    'padding attended to; in.nullInputIds and out.nullHiddenStates: of the empty text',
    'guidance': 'v = v(empty) + guidance * (v(text) - v(empty)), both halves in one batch',
}


@torch.no_grad()
def record(weights: Path, guidance: float) -> None:
    prepare('cpu')
    pipe, noise = read_pipeline(weights), noise_of(len(PROMPTS), SEED)
    ids = torch.tensor([pipe.tokenizer.encode(p) for p in PROMPTS])
    null_ids = torch.tensor([pipe.tokenizer.encode('')])
    states, null = pipe.text(ids)[0], pipe.text(null_ids)[0]
    path: list[torch.Tensor] = []
    latents = ddim(guided(pipe.unet, states, null, guidance), noise, STEPS, lambda t, x: path.append(x[0].clone()))
    tensors = {
        'in.noise': noise,
        'in.inputIds': ids.int(),
        'in.nullInputIds': null_ids.int(),
        'out.hiddenStates': states,
        'out.nullHiddenStates': null,
        'out.latents': latents,
        'out.image': decode(pipe.vae, latents),
        'out.afterStep': torch.stack(path),
    }
    folder = weights.with_name(weights.name + '-reference')
    write_json(
        folder / 'config.json',
        {
            'prompts': PROMPTS,
            'seed': SEED,
            'numInferenceSteps': STEPS,
            'guidanceScale': guidance,
            'eta': 0,
            'timesteps': timesteps(STEPS),
            'weights': 'f16 as stored',
            'computation': 'f32',
            'torch': torch.__version__,
            'arithmetic': ARITHMETIC,
        },
    )
    safetensors_io.save(tensors, folder / 'io.safetensors')
    print((folder / 'io.safetensors').stat().st_size, 'bytes')


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--weights', type=Path, default=WEIGHTS)
    parser.add_argument('--guidance', type=float, default=GUIDANCE)
    options = parser.parse_args()
    record(options.weights, options.guidance)
