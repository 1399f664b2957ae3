"""Trains the class-conditional diffusion transformer on the autoencoder's latents (16x16x4 -> 64 tokens), which also
learns the variance of each step.

usage: python3 dit.py --out DIR [--minutes 120 | --steps N] [--device cpu|cuda]
Needs OUT/vae.pt. Running it again goes on from OUT/dit.pt; --fresh starts over.
Peebles & Xie 2023; the variance as in Nichol & Dhariwal 2021, section 3.1: between beta-tilde and beta, by the
variational bound, through which the velocity gets no gradient.
"""

from functools import lru_cache

import torch
from torch import Tensor

from diffusion import alphas_cumprod
from dit_model import DiT, dit_config
from latent_training import NULL, Noised, Task, even_noise, options_of, run

# Transformer and autoencoder together stay below 8 MB in f16.
CONFIG = dit_config(layers=6, heads=4, head_dim=32, classes=NULL)
BOUND_WEIGHT = 0.1


@lru_cache(maxsize=1)
def posterior() -> tuple[Tensor, Tensor, Tensor]:
    """Of q(x_{t-1} | x_t, x0), each [1000]: weight of x0 in its mean, log beta-tilde, log beta.

    Ho et al. 2020, eq. 7; beta-tilde at 0, which is 0, is taken from 1.
    """
    bars = alphas_cumprod().double()
    before = torch.cat([torch.ones(1, dtype=torch.float64), bars[:-1]])
    beta = 1 - bars / before
    tilde = (1 - before) / (1 - bars) * beta
    tilde[0] = tilde[1]
    return (before.sqrt() * beta / (1 - bars)).float(), tilde.log().float(), beta.log().float()


def bound(out: Tensor, noised: Noised) -> Tensor:
    """The variational bound's term of each t in nats per number, weighted: KL(q(x_{t-1} | x_t, x0) || p), and at t = 0
    the negative log density of x0, a Gaussian's since latents are not rounded.
    """
    v, fraction = out.chunk(2, dim=1)
    of_x0, low, high = (table.to(out.device)[noised.t][:, None, None, None] for table in posterior())
    a = alphas_cumprod().to(out.device)[noised.t][:, None, None, None]
    x0 = a.sqrt() * noised.x - (1 - a).sqrt() * v.detach()
    log_variance = low + (fraction + 1) / 2 * (high - low)
    # Means differ by what x0 is off; at t = 0 the mean of p is x0 itself.
    error = (of_x0 * (x0 - noised.x0)).pow(2) * torch.exp(-log_variance)
    divergence = 0.5 * (log_variance - low + torch.exp(low - log_variance) + error - 1)
    density = 0.5 * (log_variance + error)
    first = (noised.t == 0)[:, None, None, None]
    return BOUND_WEIGHT * torch.where(first, density, divergence).mean()


if __name__ == '__main__':
    run(Task('dit', CONFIG, DiT, bound, weight=even_noise), options_of(minutes=120))
