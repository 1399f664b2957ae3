"""The noise schedule and DDIM in the terms and the arithmetic of diffusers' DDIMScheduler."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

TRAIN_STEPS = 1000
SCHEDULER_CONFIG = {
    '_class_name': 'DDIMScheduler',
    '_diffusers_version': '0.31.0',
    'beta_end': 0.02,
    'beta_schedule': 'squaredcos_cap_v2',
    'beta_start': 0.0001,
    'clip_sample': False,
    'clip_sample_range': 1.0,
    'dynamic_thresholding_ratio': 0.995,
    'num_train_timesteps': TRAIN_STEPS,
    'prediction_type': 'v_prediction',
    'rescale_betas_zero_snr': False,
    'sample_max_value': 1.0,
    'set_alpha_to_one': True,
    'steps_offset': 0,
    'thresholding': False,
    'timestep_spacing': 'trailing',
    'trained_betas': None,
}


def alphas_cumprod() -> Tensor:
    """alpha-bar of the cosine schedule, [1000] f32; each beta capped at 0.999. Nichol & Dhariwal 2021, eq.
    17.
    """

    def bar(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - bar((i + 1) / TRAIN_STEPS) / bar(i / TRAIN_STEPS), 0.999) for i in range(TRAIN_STEPS)]
    return torch.cumprod(1 - torch.tensor(betas, dtype=torch.float32), dim=0)


def timesteps(steps: int) -> list[int]:
    """The "trailing" spacing: from 999 down in equal strides."""
    return (np.round(np.arange(TRAIN_STEPS, 0, -TRAIN_STEPS / steps)).astype(np.int64) - 1).tolist()


@torch.no_grad()
def ddim(
    v_of: Callable[[Tensor, int], Tensor],
    x: Tensor,
    steps: int,
    seen: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Deterministic DDIM from noise x; v_of(x, t) is the (guided) velocity. Song et al. 2021, eq. 12, eta =
    0.
    """
    bars = alphas_cumprod().to(x.device)
    for t in timesteps(steps):
        previous = t - TRAIN_STEPS // steps
        a = bars[t]
        a_prev = bars[previous] if previous >= 0 else torch.tensor(1.0, device=x.device)
        v = v_of(x, t)
        x0 = a**0.5 * x - (1 - a) ** 0.5 * v
        eps = a**0.5 * v + (1 - a) ** 0.5 * x
        x = a_prev**0.5 * x0 + (1 - a_prev) ** 0.5 * eps
        if seen:
            seen(t, x)
    return x


def guided(
    model: Callable[[Tensor, Tensor, Tensor], Tensor], given: Tensor, null: int | Tensor, scale: float
) -> Callable[[Tensor, int], Tensor]:
    """Classifier-free guidance, uncond + scale * (cond - uncond), both halves in one batch; `null` is the label that
    stands for none, or the states of no text. Ho & Salimans 2022.
    """
    none = null.expand_as(given) if isinstance(null, Tensor) else torch.full_like(given, null)
    both = torch.cat([none, given])

    def v_of(x: Tensor, t: int) -> Tensor:
        out = model(torch.cat([x, x]), torch.tensor(t, device=x.device), both).float()
        uncond, cond = out.chunk(2)
        return uncond + scale * (cond - uncond)

    return v_of
