"""Data-parallel training by a few single-threaded processes that average their gradients in shared memory.

On a busy CPU this beats one process with as many threads: the processes meet once per step, not at every
operator.
"""

import torch
import torch.multiprocessing as mp
from torch import nn

PATIENCE = 900  # seconds at a barrier before a process concludes that the others are gone


class Team:
    """Shared state of `ranks` processes that train equal copies of one model."""

    def __init__(self, ranks: int, model: nn.Module):
        size = sum(p.numel() for p in model.parameters())
        self.ranks = ranks
        if ranks > 1:
            self.grads = torch.zeros(ranks, size).share_memory_()
            self.clock = torch.zeros(1, dtype=torch.float64).share_memory_()
            self.barrier = mp.get_context('spawn').Barrier(ranks)

    def average(self, rank: int, model: nn.Module, used: float) -> float:
        """Replaces each gradient by the team's mean; returns rank 0's `used`, for one common schedule."""
        if self.ranks == 1:
            return used
        parameters = list(model.parameters())
        self.grads[rank].copy_(torch.cat([p.grad.flatten() for p in parameters]))
        if rank == 0:
            self.clock[0] = used
        self.barrier.wait(PATIENCE)
        mean, used = self.grads.mean(dim=0), self.clock.item()
        self.barrier.wait(PATIENCE)
        for p, part in zip(parameters, mean.split([p.numel() for p in parameters])):
            p.grad.copy_(part.view_as(p))
        return used
