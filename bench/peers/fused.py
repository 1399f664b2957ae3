"""onnxruntime's own operators in an export, as far as its WebGPU provider has them: QuickGelu (SiLU where alpha is 1),
FastGelu, MultiHeadAttention. Of GroupNorm and SkipGroupNorm it has none (1.30: no kernel found)."""

import contextlib
from unittest import mock

import torch
import torch.nn.functional as F

import dit_model
import layers
import unet_condition

DOMAIN = 'com.microsoft'
_silu, _gelu = F.silu, F.gelu


class Silu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return _silu(x)

    @staticmethod
    def symbolic(g, x):
        return g.op(f'{DOMAIN}::QuickGelu', x, alpha_f=1.0).setType(x.type())


class TanhGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return _gelu(x, approximate='tanh')

    @staticmethod
    def symbolic(g, x):
        return g.op(f'{DOMAIN}::FastGelu', x).setType(x.type())


class Attend(torch.autograd.Function):
    """q [B, T, H d], k and v [B, S, H d] -> [B, T, H d]"""

    @staticmethod
    def forward(ctx, q, k, v, heads):
        q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    @staticmethod
    def symbolic(g, q, k, v, heads):
        return g.op(f'{DOMAIN}::MultiHeadAttention', q, k, v, num_heads_i=heads).setType(q.type())


def gelu(x, approximate='none'):
    return TanhGelu.apply(x) if approximate == 'tanh' else _gelu(x, approximate=approximate)


def tokens_attention(self, x, context=None):
    """Of transformers: tokens in, tokens out."""
    context = x if context is None else context
    out = Attend.apply(self.to_q(x), self.to_k(context), self.to_v(context), self.heads)
    return self.to_out[0](out)


def pixels_attention(self, x):
    """Of U-Net and autoencoder: over the pixels, with a residual."""
    b, c, height, width = x.shape
    tokens = self.group_norm(x).flatten(2).transpose(1, 2)
    out = self.to_out[0](Attend.apply(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens), self.heads))
    return x + out.transpose(1, 2).reshape(b, c, height, width)


@contextlib.contextmanager
def fused_operators():
    with (
        mock.patch.object(F, 'silu', Silu.apply),
        mock.patch.object(F, 'gelu', gelu),
        mock.patch.object(layers.Attention, 'forward', pixels_attention),
        mock.patch.object(dit_model.Attention, 'forward', tokens_attention),
        mock.patch.object(unet_condition.Attention, 'forward', tokens_attention),
    ):
        yield
