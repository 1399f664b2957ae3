"""GroupNorm + SiLU as one pass over bf16 NHWC activations on a CPU (groupNormSilu.cpp), built on first use.

Anything else (f32, a GPU, no compiler) takes PyTorch's own operators: same result, more time.
"""

import ctypes
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

SOURCE = Path(__file__).with_name('groupNormSilu.cpp')


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The compiled kernel, or None where there is no compiler."""
    target = Path(tempfile.mkdtemp()) / 'groupNormSilu.so'
    command = [
        'g++',
        '-O3',
        '-march=native',
        '-mprefer-vector-width=512',
        '-ffast-math',
        '-fopenmp',
        '-shared',
        '-fPIC',
        str(SOURCE),
        '-o',
        str(target),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True)
        return ctypes.CDLL(str(target))
    except (OSError, subprocess.CalledProcessError):
        print('fast_norm: no working g++; PyTorch operators are used instead')
        return None


def nhwc(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def pointer(x: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr())


class GroupNormSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
        x = nhwc(x)
        n, c, h, w = x.shape
        y, mean, rstd = torch.empty_like(x), torch.empty(n, groups), torch.empty(n, groups)
        library().forward(
            pointer(x),
            pointer(weight),
            pointer(bias),
            pointer(y),
            pointer(mean),
            pointer(rstd),
            n,
            h * w,
            c,
            groups,
            ctypes.c_float(eps),
            int(silu),
        )
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.groups, ctx.silu = groups, silu
        return y

    @staticmethod
    def backward(ctx, dy: Tensor):
        x, weight, bias, mean, rstd = ctx.saved_tensors
        dy = nhwc(dy.to(torch.bfloat16))
        n, c, h, w = x.shape
        dx, dw, db = torch.empty_like(x), torch.empty(n, c), torch.empty(n, c)
        library().backward(
            pointer(x),
            pointer(dy),
            pointer(weight),
            pointer(bias),
            pointer(mean),
            pointer(rstd),
            pointer(dx),
            pointer(dw),
            pointer(db),
            n,
            h * w,
            c,
            ctx.groups,
            int(ctx.silu),
        )
        return dx, dw.sum(0), db.sum(0), None, None, None


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
    """x [B, C, H, W] -> the same shape and type; statistics in f32."""
    if x.dtype == torch.bfloat16 and x.device.type == 'cpu' and library() is not None:
        return GroupNormSilu.apply(x, weight, bias, groups, eps, silu)
    y = F.group_norm(x.float(), groups, weight, bias, eps)
    return (F.silu(y) if silu else y).to(x.dtype)
