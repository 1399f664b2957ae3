"""DiTTransformer2DModel in plain PyTorch with the parameter names, config fields and arithmetic of diffusers 0.31.

Peebles & Xie 2023: a vision transformer whose layer norms are driven by timestep and class (adaLN-Zero).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers import TimestepEmbedding, attend, timestep_embedding
from models import VERSION

TIME_FEATURES = 256


def grid_positions(width: int, side: int) -> Tensor:
    """Sines and cosines of a grid's columns, then of its rows: [side^2, width]. Dosovitskiy et al. 2021, app. D.4."""
    omega = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing='ij')
    angles = [axis.flatten()[:, None].double() * omega for axis in (columns, rows)]
    return torch.cat([part for a in angles for part in (a.sin(), a.cos())], dim=1).float()


class Patches(nn.Module):
    """Pictures [B, C, H, W] -> one token per patch, with its position [B, T, D]."""

    def __init__(self, config: dict, width: int):
        super().__init__()
        patch = config['patch_size']
        self.proj = nn.Conv2d(config['in_channels'], width, patch, stride=patch)
        positions = grid_positions(width, config['sample_size'] // patch)
        self.register_buffer('positions', positions, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2) + self.positions


class ClassEmbedder(nn.Module):
    def __init__(self, classes: int, width: int):
        super().__init__()
        self.embedding_table = nn.Embedding(classes + 1, width)  # the last one: no class


class TimeAndClass(nn.Module):
    """Timestep [B] and label [B] -> [B, D]."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.timestep_embedder = TimestepEmbedding(TIME_FEATURES, width)
        self.class_embedder = ClassEmbedder(classes, width)

    def forward(self, timestep: Tensor, labels: Tensor) -> Tensor:
        features = timestep_embedding(timestep, TIME_FEATURES, flip_sin_to_cos=True, freq_shift=1)
        return self.timestep_embedder(features) + self.class_embedder.embedding_table(labels)


class AdaLayerNormZero(nn.Module):
    """Makes what drives a block: six vectors [B, D] of scale, shift and gate."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.emb = TimeAndClass(classes, width)
        self.linear = nn.Linear(width, 6 * width)


class Attention(nn.Module):
    """Self-attention over tokens [B, T, D]."""

    def __init__(self, heads: int, head_dim: int, bias: bool):
        super().__init__()
        width = heads * head_dim
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias)
        self.to_k = nn.Linear(width, width, bias)
        self.to_v = nn.Linear(width, width, bias)
        self.to_out = nn.ModuleList([nn.Linear(width, width), nn.Dropout(0.0)])

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for f in (self.to_q, self.to_k, self.to_v))
        out = attend(q, k, v)  # [B, heads, T, d]
        return self.to_out[0](out.transpose(1, 2).flatten(2))


class Gelu(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.proj = nn.Linear(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x), approximate='tanh')


class FeedForward(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.net = nn.Sequential(Gelu(width, 4 * width), nn.Dropout(0.0), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Block(nn.Module):
    """Attention and feed-forward network, each behind a driven norm and a gate."""

    def __init__(self, config: dict):
        super().__init__()
        heads, head_dim = config['num_attention_heads'], config['attention_head_dim']
        width = heads * head_dim
        self.norm1 = AdaLayerNormZero(config['num_embeds_ada_norm'], width)
        self.attn1 = Attention(heads, head_dim, config['attention_bias'])
        self.ff = FeedForward(width)
        self.norm_eps = config['norm_eps']

    def forward(self, x: Tensor, timestep: Tensor, labels: Tensor) -> Tensor:
        driven = self.norm1.linear(F.silu(self.norm1.emb(timestep, labels)))
        shift1, scale1, gate1, shift2, scale2, gate2 = driven[:, None].chunk(6, dim=2)
        x = x + gate1 * self.attn1(driven_norm(x, shift1, scale1, 1e-6))
        return x + gate2 * self.ff(driven_norm(x, shift2, scale2, self.norm_eps))


def driven_norm(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Layer norm of x [B, T, D] in f32, then scale and shift [B, 1, D]."""
    n = F.layer_norm(x.float(), x.shape[-1:], eps=eps)
    return n * (1 + scale) + shift


class DiT(nn.Module):
    """Latents [B, C, H, W], timestep [] or [B], labels [B] (the last: no class) -> [B, out, H, W]."""

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        width = config['num_attention_heads'] * config['attention_head_dim']
        self.pos_embed = Patches(config, width)
        self.transformer_blocks = nn.ModuleList(Block(config) for _ in range(config['num_layers']))
        self.proj_out_1 = nn.Linear(width, 2 * width)
        self.proj_out_2 = nn.Linear(width, config['patch_size'] ** 2 * config['out_channels'])
        self.start()

    def start(self) -> None:
        """Blocks start as the identity and the output as zero. Peebles & Xie 2023, section 3.2 and their code."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        projection = self.pos_embed.proj
        nn.init.xavier_uniform_(projection.weight.data.view(projection.out_channels, -1))
        for block in self.transformer_blocks:
            emb = block.norm1.emb
            table, mlp = emb.class_embedder.embedding_table, emb.timestep_embedder
            for weight in (table.weight, mlp.linear_1.weight, mlp.linear_2.weight):
                nn.init.normal_(weight, std=0.02)
            nn.init.zeros_(block.norm1.linear.weight)
        for zero in (self.proj_out_1, self.proj_out_2):
            nn.init.zeros_(zero.weight)

    def forward(self, x: Tensor, timestep: Tensor, labels: Tensor) -> Tensor:
        config, (batch, _, height, width) = self.config, x.shape
        patch = config['patch_size']
        timestep = timestep.expand(batch)
        x = self.pos_embed(x)
        for block in self.transformer_blocks:
            x = block(x, timestep, labels)
        emb = self.transformer_blocks[0].norm1.emb(timestep, labels)
        shift, scale = self.proj_out_1(F.silu(emb))[:, None].chunk(2, dim=2)
        x = self.proj_out_2(driven_norm(x, shift, scale, 1e-6))  # [B, T, p p out]
        x = x.view(batch, height // patch, width // patch, patch, patch, config['out_channels'])
        return x.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, height, width)


def dit_config(layers: int, heads: int, head_dim: int, classes: int, **fields: object) -> dict:
    """The whole published config of a DiTTransformer2DModel that also says a variance."""
    return {
        '_class_name': 'DiTTransformer2DModel',
        '_diffusers_version': VERSION,
        'activation_fn': 'gelu-approximate',
        'attention_bias': True,
        'attention_head_dim': head_dim,
        'dropout': 0.0,
        'in_channels': 4,
        'norm_elementwise_affine': False,
        'norm_eps': 1e-5,
        'norm_num_groups': 32,
        'norm_type': 'ada_norm_zero',
        'num_attention_heads': heads,
        'num_embeds_ada_norm': classes,
        'num_layers': layers,
        'out_channels': 8,
        'patch_size': 2,
        'sample_size': 16,
        'upcast_attention': False,
        **fields,
    }
