"""Building blocks shared by U-Net and autoencoder; module names are those of published diffusers
checkpoints.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_norm import group_norm


class GroupNorm(nn.GroupNorm):
    """Group norm, then SiLU where asked for; statistics in f32 also when training in bf16."""

    def forward(self, x: Tensor, silu: bool = False) -> Tensor:
        return group_norm(x, self.weight, self.bias, self.num_groups, self.eps, silu)


def timestep_embedding(t: Tensor, width: int, flip_sin_to_cos: bool, freq_shift: float) -> Tensor:
    """Sinusoids of t [B] -> [B, width]; frequencies 10000^(-i / (width/2 - freq_shift)). Ho et al. 2020."""
    half = width // 2
    freqs = torch.exp(
        -math.log(10000.0) * torch.arange(half, dtype=torch.float32, device=t.device) / (half - freq_shift)
    )
    angles = t.float()[:, None] * freqs[None]
    parts = [angles.sin(), angles.cos()]
    return torch.cat(parts[::-1] if flip_sin_to_cos else parts, dim=-1)


class TimestepEmbedding(nn.Module):
    """Two linear layers with SiLU between: [B, width] -> [B, out]."""

    def __init__(self, width: int, out: int):
        super().__init__()
        self.linear_1 = nn.Linear(width, out)
        self.linear_2 = nn.Linear(out, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class ResnetBlock(nn.Module):
    """norm-SiLU-conv (+ projected time embedding), norm-SiLU-conv, plus the (projected) input."""

    def __init__(self, cin: int, cout: int, groups: int, eps: float, temb: int | None = None):
        super().__init__()
        self.norm1 = GroupNorm(groups, cin, eps)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1)
        self.time_emb_proj = nn.Linear(temb, cout) if temb else None
        self.norm2 = GroupNorm(groups, cout, eps)
        self.dropout = nn.Dropout(0.0)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(cin, cout, 1) if cin != cout else None

    def forward(self, x: Tensor, temb: Tensor | None = None) -> Tensor:
        h = self.conv1(self.norm1(x, silu=True))
        if self.time_emb_proj is not None:
            h = h + self.time_emb_proj(F.silu(temb))[:, :, None, None]
        h = self.conv2(self.dropout(self.norm2(h, silu=True)))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for heads [B, heads, T or S, d]; the softmax in f32.

    Written out, since for the few tokens here PyTorch's fused operator takes four times as long on a CPU.
    """
    scores = (q @ k.transpose(2, 3)).float() * q.shape[-1] ** -0.5
    return scores.softmax(-1).to(v.dtype) @ v


class Attention(nn.Module):
    """Self-attention over the pixels of [B, C, H, W] with a residual connection."""

    def __init__(self, channels: int, head_dim: int, groups: int, eps: float):
        super().__init__()
        self.heads = channels // head_dim
        self.group_norm = GroupNorm(groups, channels, eps)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels), nn.Dropout(0.0)])

    def forward(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)  # [B, T, C]
        q, k, v = (
            f(tokens).reshape(b, -1, self.heads, c // self.heads).transpose(1, 2)
            for f in (self.to_q, self.to_k, self.to_v)
        )  # [B, heads, T, d]
        out = attend(q, k, v).transpose(1, 2).reshape(b, -1, c)  # [B, T, C]
        return x + self.to_out[0](out).transpose(1, 2).reshape(b, c, height, width)


class Downsample(nn.Module):
    """3x3 convolution of stride 2; padding 0 means one zero row and column at the right and bottom only."""

    def __init__(self, channels: int, padding: int):
        super().__init__()
        self.padding = padding
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x if self.padding else F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Nearest-neighbour doubling, then a 3x3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode='nearest'))


class MidBlock(nn.Module):
    """Residual block, attention, residual block."""

    def __init__(
        self, channels: int, head_dim: int, groups: int, eps: float, temb: int | None, attention: bool
    ):
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(channels, channels, groups, eps, temb) for _ in range(2))
        self.attentions = nn.ModuleList([Attention(channels, head_dim, groups, eps)] if attention else [])

    def forward(self, x: Tensor, temb: Tensor | None = None) -> Tensor:
        x = self.resnets[0](x, temb)
        for layer in self.attentions:
            x = layer(x)
        return self.resnets[1](x, temb)
