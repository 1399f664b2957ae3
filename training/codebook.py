"""What fits the entries of a codebook to latents: k-means, and averages that follow a moving encoder.

van den Oord et al. 2017, appendix A.1; dead entries start again where latents are far from every entry.
"""

import torch
from torch import Tensor

from vq_model import nearest


def lloyd(x: Tensor, entries: Tensor, rounds: int) -> Tensor:
    """Rounds of k-means over x [N, E] from entries [K, E]; an entry that nobody is nearest to stays where it is."""
    for _ in range(rounds):
        entries = centroids(x, nearest(x, entries), entries)
    return entries


def k_means(x: Tensor, size: int, rounds: int) -> Tensor:
    """`size` entries for x [N, E], started from as many different rows."""
    return lloyd(x, x[torch.randperm(len(x))[:size]].clone(), rounds)


def centroids(x: Tensor, indices: Tensor, entries: Tensor) -> Tensor:
    """The mean of each entry's rows."""
    counts = torch.bincount(indices, minlength=len(entries)).float()[:, None]
    sums = torch.zeros_like(entries).index_add_(0, indices, x)
    return torch.where(counts > 0, sums / counts.clamp_min(1), entries)


class Averages:
    """Moving averages of how many latents of a batch fall on each entry, and of their sum."""

    def __init__(self, entries: Tensor, per_batch: int, decay: float = 0.99, dead: float = 0.03):
        """`dead`: an entry with fewer latents per batch than this starts again."""
        self.decay, self.dead = decay, dead
        self.counts = torch.full((len(entries),), per_batch / len(entries), device=entries.device)
        self.sums = entries * self.counts[:, None]

    @torch.no_grad()
    def update(self, entries: Tensor, x: Tensor, indices: Tensor, restart: bool) -> int:
        """Moves entries [K, E] in place towards the rows x [N, E] that fell on them; returns how many started again."""
        self.counts.lerp_(torch.bincount(indices, minlength=len(entries)).float(), 1 - self.decay)
        self.sums.lerp_(torch.zeros_like(entries).index_add_(0, indices, x), 1 - self.decay)
        dead = (self.counts < self.dead).nonzero()[:, 0] if restart else []
        if len(dead):
            # In proportion to the squared distance, as k-means++ does: where entries are missing most.
            far = (x - entries[indices]).pow(2).sum(1) + 1e-9
            self.counts[dead] = len(x) / len(entries)
            self.sums[dead] = x[torch.multinomial(far, len(dead))] * self.counts[dead, None]
        entries.copy_(self.sums / self.counts.clamp_min(1e-6)[:, None])
        return len(dead)

    def state(self) -> dict:
        return {'counts': self.counts, 'sums': self.sums}

    def load(self, state: dict) -> None:
        self.counts.copy_(state['counts'])
        self.sums.copy_(state['sums'])


def usage(indices: Tensor, size: int) -> dict:
    """How many entries are used, and the perplexity exp(H) of how often."""
    p = torch.bincount(indices.flatten(), minlength=size).double()
    p = p[p > 0] / indices.numel()
    return {'used': len(p), 'of': size, 'perplexity': (-(p * p.log()).sum()).exp().item()}
