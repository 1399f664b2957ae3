"""UNet2DConditionModel in plain PyTorch with the parameter names, config fields and arithmetic of diffusers 0.31: the
forms of Stable Diffusion 1.x and 2.x (DownBlock2D, CrossAttnDownBlock2D, their ways up, a middle or none).

Rombach et al. 2022, section 3.3: a transformer block behind each residual block looks at the text.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers import Downsample, GroupNorm, ResnetBlock, TimestepEmbedding, Upsample, attend, timestep_embedding
from models import VERSION


class Attention(nn.Module):
    """Queries from x [B, T, D], keys and values from a context [B, S, E]."""

    def __init__(self, width: int, context: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width), nn.Dropout(0.0)])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            f(y).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for f, y in ((self.to_q, x), (self.to_k, context), (self.to_v, context))
        )
        out = attend(q, k, v)  # [B, heads, T, d]
        return self.to_out[0](out.transpose(1, 2).flatten(2))


class Geglu(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.proj = nn.Linear(width, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.net = nn.Sequential(Geglu(width, 4 * width), nn.Dropout(0.0), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    """Self-attention, attention to the text, feed-forward network; a norm in front of each."""

    def __init__(self, width: int, context: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.attn2 = Attention(width, context, heads)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        n = self.norm1(x)
        x = x + self.attn1(n, n)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class Transformer(nn.Module):
    """One transformer block over the pixels of [B, C, H, W], between projections, with a residual connection."""

    def __init__(self, width: int, context: int, heads: int, groups: int, linear: bool):
        super().__init__()
        self.norm = GroupNorm(groups, width, 1e-6)
        self.proj_in = nn.Linear(width, width) if linear else nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, context, heads)])
        self.proj_out = nn.Linear(width, width) if linear else nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.norm(x).permute(0, 2, 3, 1)  # [B, H, W, C]
        shape = h.shape
        h = self.tokens(self.proj_in, h.flatten(1, 2))
        for block in self.transformer_blocks:
            h = block(h, context)
        return x + self.tokens(self.proj_out, h).view(shape).permute(0, 3, 1, 2)

    @staticmethod
    def tokens(projection: nn.Module, h: Tensor) -> Tensor:
        """A 1x1 convolution is a linear map of each token."""
        return F.linear(h, projection.weight.flatten(1), projection.bias)


class Level(nn.Module):
    """Residual blocks, behind each a transformer where there are any, then a change of resolution."""

    def __init__(self, config: dict, widths: list[tuple[int, int]], heads: int | None, down: bool, up: bool):
        super().__init__()
        groups, eps, cout = config['norm_num_groups'], config['norm_eps'], widths[-1][1]
        temb = 4 * config['block_out_channels'][0]
        self.resnets = nn.ModuleList(ResnetBlock(i, o, groups, eps, temb) for i, o in widths)
        if heads is not None:
            context, linear = config['cross_attention_dim'], config['use_linear_projection']
            self.attentions = nn.ModuleList(Transformer(cout, context, heads, groups, linear) for _ in widths)
        if down:
            self.downsamplers = nn.ModuleList([Downsample(cout, config['downsample_padding'])])
        if up:
            self.upsamplers = nn.ModuleList([Upsample(cout)])

    def layer(self, j: int, x: Tensor, temb: Tensor, context: Tensor) -> Tensor:
        x = self.resnets[j](x, temb)
        return self.attentions[j](x, context) if hasattr(self, 'attentions') else x


class Middle(nn.Module):
    """Residual block, transformer, residual block."""

    def __init__(self, config: dict, width: int, heads: int):
        super().__init__()
        groups, eps, temb = config['norm_num_groups'], config['norm_eps'], 4 * config['block_out_channels'][0]
        context, linear = config['cross_attention_dim'], config['use_linear_projection']
        self.attentions = nn.ModuleList([Transformer(width, context, heads, groups, linear)])
        self.resnets = nn.ModuleList(ResnetBlock(width, width, groups, eps, temb) for _ in range(2))

    def forward(self, x: Tensor, temb: Tensor, context: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x, temb), context), temb)


class ConditionUNet(nn.Module):
    """Latents [B, C, H, W], timestep [] or [B], text states [B, S, E] -> [B, C, H, W]."""

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        widths, per_level = config['block_out_channels'], config['layers_per_block']
        last, kept = len(widths) - 1, config['attention_head_dim']
        # The name says channels of a head; in this class it is the number of heads.
        heads = kept if isinstance(kept, list) else [kept] * len(widths)
        self.conv_in = nn.Conv2d(config['in_channels'], widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], 4 * widths[0])
        skips, previous = [widths[0]], widths[0]
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        for i, (kind, width) in enumerate(zip(config['down_block_types'], widths)):
            layers = [(previous if j == 0 else width, width) for j in range(per_level)]
            skips += [width] * (per_level + (i < last))
            attended = heads[i] if kind.startswith('Cross') else None
            self.down_blocks.append(Level(config, layers, attended, i < last, False))
            previous = width
        self.mid_block = Middle(config, widths[-1], heads[-1]) if config['mid_block_type'] else None
        for i, (kind, width) in enumerate(zip(config['up_block_types'], widths[::-1])):
            layers = []
            for _ in range(per_level + 1):
                layers.append((previous + skips.pop(), width))
                previous = width
            attended = heads[last - i] if kind.startswith('Cross') else None
            self.up_blocks.append(Level(config, layers, attended, False, i < last))
        self.conv_norm_out = GroupNorm(config['norm_num_groups'], widths[0], config['norm_eps'])
        self.conv_out = nn.Conv2d(widths[0], config['out_channels'], 3, padding=1)

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        config = self.config
        features = timestep_embedding(
            timestep.expand(x.shape[0]),
            config['block_out_channels'][0],
            config['flip_sin_to_cos'],
            config['freq_shift'],
        )
        temb = self.time_embedding(features)
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            for j in range(len(block.resnets)):
                x = block.layer(j, x, temb, context)
                skips.append(x)
            if hasattr(block, 'downsamplers'):
                x = block.downsamplers[0](x)
                skips.append(x)
        if self.mid_block is not None:
            x = self.mid_block(x, temb, context)
        for block in self.up_blocks:
            for j in range(len(block.resnets)):
                x = block.layer(j, torch.cat([x, skips.pop()], dim=1), temb, context)
            if hasattr(block, 'upsamplers'):
                x = block.upsamplers[0](x)
        return self.conv_out(self.conv_norm_out(x, silu=True))


def condition_config(widths: list[int], attention: list[bool], context: int, heads: int, **fields: object) -> dict:
    """The whole published config of a UNet2DConditionModel whose level i looks at the text where attention[i]."""
    return {
        '_class_name': 'UNet2DConditionModel',
        '_diffusers_version': VERSION,
        'act_fn': 'silu',
        'addition_embed_type': None,
        'addition_embed_type_num_heads': 64,
        'addition_time_embed_dim': None,
        'attention_head_dim': heads,
        'attention_type': 'default',
        'block_out_channels': widths,
        'center_input_sample': False,
        'class_embed_type': None,
        'class_embeddings_concat': False,
        'conv_in_kernel': 3,
        'conv_out_kernel': 3,
        'cross_attention_dim': context,
        'cross_attention_norm': None,
        'down_block_types': ['CrossAttnDownBlock2D' if a else 'DownBlock2D' for a in attention],
        'downsample_padding': 1,
        'dropout': 0.0,
        'dual_cross_attention': False,
        'encoder_hid_dim': None,
        'encoder_hid_dim_type': None,
        'flip_sin_to_cos': True,
        'freq_shift': 0,
        'in_channels': 4,
        'layers_per_block': 1,
        'mid_block_only_cross_attention': None,
        'mid_block_scale_factor': 1,
        'mid_block_type': 'UNetMidBlock2DCrossAttn',
        'norm_eps': 1e-5,
        'norm_num_groups': 16,
        'num_attention_heads': None,
        'num_class_embeds': None,
        'only_cross_attention': False,
        'out_channels': 4,
        'projection_class_embeddings_input_dim': None,
        'resnet_out_scale_factor': 1.0,
        'resnet_skip_time_act': False,
        'resnet_time_scale_shift': 'default',
        'reverse_transformer_layers_per_block': None,
        'sample_size': 16,
        'time_cond_proj_dim': None,
        'time_embedding_act_fn': None,
        'time_embedding_dim': None,
        'time_embedding_type': 'positional',
        'timestep_post_act': None,
        'transformer_layers_per_block': 1,
        'up_block_types': ['CrossAttnUpBlock2D' if a else 'UpBlock2D' for a in attention[::-1]],
        'upcast_attention': False,
        'use_linear_projection': True,
        **fields,
    }
