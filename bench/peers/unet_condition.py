"""The U-Net of Stable Diffusion 1.x in plain PyTorch, with the parameter names and arithmetic of diffusers'
UNet2DConditionModel. Rombach et al. 2022."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers import Downsample, GroupNorm, ResnetBlock, TimestepEmbedding, Upsample, timestep_embedding


class Attention(nn.Module):
    """From tokens [B, T, D] to a context [B, S, E], by default themselves."""

    def __init__(self, width: int, heads: int, context: int):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width), nn.Dropout(0.0)])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        projected = self.to_q(x), self.to_k(context), self.to_v(context)
        q, k, v = (y.unflatten(2, (self.heads, -1)).transpose(1, 2) for y in projected)
        out = F.scaled_dot_product_attention(q, k, v)  # [B, heads, T, d]
        return self.to_out[0](out.transpose(1, 2).flatten(2))


class Geglu(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.proj = nn.Linear(width, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.net = nn.Sequential(Geglu(width, 4 * width), nn.Dropout(0.0), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Block(nn.Module):
    """Attention to itself, attention to the context, feed-forward network; each behind a norm and with a residual."""

    def __init__(self, width: int, heads: int, context: int):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1 = Attention(width, heads, width)
        self.attn2 = Attention(width, heads, context)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class Transformer(nn.Module):
    """One block over the pixels of [B, C, H, W], with a residual."""

    def __init__(self, width: int, heads: int, context: int, groups: int):
        super().__init__()
        self.norm = GroupNorm(groups, width, 1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([Block(width, heads, context)])
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + self.proj_out(tokens.transpose(1, 2).reshape(b, c, h, w))


class Level(nn.Module):
    """Residual blocks, a transformer after each where asked for, then a change of resolution."""

    def __init__(self, widths: list[tuple[int, int]], config: dict, temb: int, cross: bool, down: bool, up: bool):
        super().__init__()
        groups, eps, width = config['norm_num_groups'], config['norm_eps'], widths[-1][1]
        self.resnets = nn.ModuleList(ResnetBlock(i, o, groups, eps, temb) for i, o in widths)
        if cross:
            self.attentions = nn.ModuleList(
                Transformer(width, config['attention_head_dim'], config['cross_attention_dim'], groups) for _ in widths
            )
        if down:
            self.downsamplers = nn.ModuleList([Downsample(width, config['downsample_padding'])])
        if up:
            self.upsamplers = nn.ModuleList([Upsample(width)])

    def layer(self, j: int, x: Tensor, temb: Tensor, context: Tensor) -> Tensor:
        x = self.resnets[j](x, temb)
        return self.attentions[j](x, context) if hasattr(self, 'attentions') else x


class Middle(nn.Module):
    def __init__(self, width: int, config: dict, temb: int):
        super().__init__()
        groups, eps = config['norm_num_groups'], config['norm_eps']
        self.resnets = nn.ModuleList(ResnetBlock(width, width, groups, eps, temb) for _ in range(2))
        self.attentions = nn.ModuleList(
            [Transformer(width, config['attention_head_dim'], config['cross_attention_dim'], groups)]
        )

    def forward(self, x: Tensor, temb: Tensor, context: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x, temb), context), temb)


class UNetCondition(nn.Module):
    """x [B, Cin, H, W], timestep [B], context [B, S, E] -> [B, Cout, H, W]. In these configs `attention_head_dim` is
    the number of heads, an old mistake of the field that checkpoints keep."""

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        widths, per_level = config['block_out_channels'], config['layers_per_block']
        temb, last = widths[0] * 4, len(widths) - 1
        self.conv_in = nn.Conv2d(config['in_channels'], widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], temb)
        self.down_blocks, skips, previous = nn.ModuleList(), [widths[0]], widths[0]
        for i, (kind, width) in enumerate(zip(config['down_block_types'], widths)):
            layers = [(previous if j == 0 else width, width) for j in range(per_level)]
            self.down_blocks.append(Level(layers, config, temb, kind.startswith('Cross'), i < last, False))
            skips += [width] * (per_level + (i < last))
            previous = width
        self.mid_block = Middle(widths[-1], config, temb)
        self.up_blocks = nn.ModuleList()
        for i, (kind, width) in enumerate(zip(config['up_block_types'], widths[::-1])):
            layers = []
            for _ in range(per_level + 1):
                layers.append((previous + skips.pop(), width))
                previous = width
            self.up_blocks.append(Level(layers, config, temb, kind.startswith('Cross'), False, i < last))
        self.conv_norm_out = GroupNorm(config['norm_num_groups'], widths[0], config['norm_eps'])
        self.conv_out = nn.Conv2d(widths[0], config['out_channels'], 3, padding=1)

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        config = self.config
        width = config['block_out_channels'][0]
        features = timestep_embedding(timestep, width, config['flip_sin_to_cos'], config['freq_shift'])
        temb = self.time_embedding(features)
        x = self.conv_in(x)
        skips = [x]
        for level in self.down_blocks:
            for j in range(len(level.resnets)):
                x = level.layer(j, x, temb, context)
                skips.append(x)
            if hasattr(level, 'downsamplers'):
                x = level.downsamplers[0](x)
                skips.append(x)
        x = self.mid_block(x, temb, context)
        for level in self.up_blocks:
            for j in range(len(level.resnets)):
                x = level.layer(j, torch.cat([x, skips.pop()], dim=1), temb, context)
            if hasattr(level, 'upsamplers'):
                x = level.upsamplers[0](x)
        return self.conv_out(self.conv_norm_out(x, silu=True))
