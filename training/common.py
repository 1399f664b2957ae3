"""What both trainings share: a schedule over a budget of steps or minutes, EMA, checkpoints, the device's
tricks.
"""

import copy
import math
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import nn


class Schedule:
    """Warm-up, then cosine to zero over a budget of steps or, where none is given, of minutes of running
    time.

    The time already used is part of the checkpoint: a resumed run ends where the first one would have ended.
    """

    def __init__(self, peak: float, minutes: float, steps: int | None, warmup: float = 0.02):
        self.peak, self.minutes, self.steps, self.warmup = peak, minutes, steps, warmup
        self.step, self.used, self.last = 0, 0.0, time.time()

    def progress(self) -> float:
        """How much of the budget is used, 0 to 1."""
        part = self.step / self.steps if self.steps else self.used / (60 * self.minutes)
        return min(1.0, part)

    def rate(self) -> float:
        p = self.progress()
        return self.peak * min(1.0, (p + 1e-3) / self.warmup) * 0.5 * (1 + math.cos(math.pi * p))

    def tick(self) -> None:
        now = time.time()
        self.used, self.last, self.step = self.used + now - self.last, now, self.step + 1


class Ema:
    """Exponential moving average of a model's weights, faster at the start so that early samples mean
    something.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = copy.deepcopy(model).eval().requires_grad_(False), decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_mul_(list(self.model.parameters()), decay)
        torch._foreach_add_(list(self.model.parameters()), list(model.parameters()), alpha=1 - decay)


def autocast(device: str, enabled: bool = True) -> AbstractContextManager:
    """bf16 arithmetic with f32 weights: twice as fast on GPUs and on CPUs with AVX512-BF16."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=enabled)


def prepare(device: str) -> None:
    """Threads on a CPU, TF32 and tuned convolutions on a GPU."""
    if device == 'cpu':
        torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', os.cpu_count() or 1)))
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True


def save_checkpoint(
    path: Path,
    model: nn.Module,
    ema: Ema,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    **rest: object
) -> None:
    """Writes everything a resumed run needs, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix('.part')
    torch.save(
        {
            'model': model.state_dict(),
            'ema': ema.model.state_dict(),
            'optimizer': optimizer.state_dict(),
            'step': schedule.step,
            'used': schedule.used,
            **rest,
        },
        part,
    )
    part.replace(path)


def load_checkpoint(
    path: Path, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, schedule: Schedule
) -> dict:
    """Restores a run in place and returns the whole checkpoint; {} where there is none."""
    if not path.exists():
        return {}
    state = torch.load(path, map_location='cpu')
    model.load_state_dict(state['model'])
    ema.model.load_state_dict(state['ema'])
    optimizer.load_state_dict(state['optimizer'])
    schedule.step, schedule.used = state['step'], state['used']
    return state


def warm_start(path: Path, model: nn.Module, ema: Ema) -> dict:
    """Starts both from the averaged weights of another run; returns how long and along which curve that one came."""
    state = torch.load(path, map_location='cpu')
    model.load_state_dict(state['ema'])
    ema.model.load_state_dict(state['ema'])
    earlier = state.get('before', {'step': 0, 'minutes': 0.0, 'curve': []})
    return {
        'step': earlier['step'] + state['step'],
        'minutes': earlier['minutes'] + state['used'] / 60,
        'curve': whole_curve(earlier, state['curve']),
        **({'polish': state['polish']} if 'polish' in state else {}),
    }


def whole_curve(before: dict, curve: list[dict]) -> list[dict]:
    """The curve with that of the run it started from in front."""
    shifted = [
        {**row, 'step': before['step'] + row['step'], 'minutes': before['minutes'] + row['minutes']} for row in curve
    ]
    return before['curve'] + shifted


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio of each picture in dB; a and b [N, 3, H, W] in [-1, 1], both clamped to
    it.
    """
    error = ((a.clamp(-1, 1) - b.clamp(-1, 1)) / 2).pow(2).flatten(1).mean(1)
    return -10 * error.clamp_min(1e-10).log10()
