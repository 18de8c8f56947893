"""Layers of the diffusion transformer: modulated blocks, rotary attention, noise embedding."""

import math
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Rotary: TypeAlias = tuple[Float[Tensor, "L half"], Float[Tensor, "L half"]]


class LayerNorm(nn.Module):
    """LayerNorm without bias, in float32."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, h: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        # Autocast leaves a float32 layer_norm alone; to switch it off here would keep torch.compile
        # from caching.
        return F.layer_norm(h.float(), self.weight.shape, self.weight.float()).to(h.dtype)


class GELU(nn.Module):
    """GELU in its tanh form."""

    def forward(self, h: Float[Tensor, "B L M"]) -> Float[Tensor, "B L M"]:
        if not torch.compiler.is_compiling():
            return F.gelu(h, approximate="tanh")
        # The same function; a compiler's sigmoid takes half of the time of its tanh on a CPU.
        return h * torch.sigmoid(math.sqrt(8 / math.pi) * (h + 0.044715 * h**3))


class NoiseEmbedding(nn.Module):
    """Embedding of sigma: sinusoids of geometric frequencies, then a small MLP."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.features = features
        self.mlp = nn.Sequential(nn.Linear(features, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, "B C"]:
        half = self.features // 2
        steps = torch.arange(half, device=sigma.device, dtype=torch.float32)
        angles = sigma[:, None].float() * torch.exp(-math.log(10_000) / half * steps)
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1).to(sigma.dtype))


class Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the noise level (adaLN)."""

    def __init__(
        self, size: int, cond_dim: int, n_heads: int, dropout: float, mlp_ratio: int, zero: bool
    ) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.norm1, self.norm2 = LayerNorm(size), LayerNorm(size)
        self.qkv = nn.Linear(size, 3 * size, bias=False)
        self.out = nn.Linear(size, size, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(size, mlp_ratio * size),
            GELU(),
            nn.Linear(mlp_ratio * size, size),
        )
        self.modulation = linear(cond_dim, 6 * size, zero=zero)

    def forward(
        self, h: Float[Tensor, "B L D"], condition: Float[Tensor, "B C"], rotary: Rotary
    ) -> Float[Tensor, "B L D"]:
        modulation = self.modulation(condition)[:, None].chunk(6, dim=-1)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation
        attended = self.out(self._attend(modulate(self.norm1(h), shift1, scale1), rotary))
        h = h + gate1 * self._drop(attended)
        return h + gate2 * self._drop(self.mlp(modulate(self.norm2(h), shift2, scale2)))

    def _attend(self, h: Float[Tensor, "B L D"], rotary: Rotary) -> Float[Tensor, "B L D"]:
        batch, length, size = h.shape
        q, k, v = self.qkv(h).view(batch, length, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        # The scale of the products goes into the small tables that rotate q.
        cos, sin = (part * q.shape[-1] ** -0.5 for part in rotary)
        q, k = rotate(q, (cos, sin)), rotate(k, rotary)
        if h.device.type == "cpu":
            # At the short lengths that a CPU trains, plain products beat the fused kernel
            # (bfloat16: backward 5 x).
            attended = (q @ k.transpose(-1, -2)).softmax(-1).to(v.dtype) @ v
        else:
            attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return attended.transpose(1, 2).reshape(batch, length, size)

    def _drop(self, h: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return F.dropout(h, self.dropout, self.training)


class ZeroLinear(nn.Linear):
    """A linear layer that the model starts at zero."""


def linear(inputs: int, outputs: int, zero: bool) -> nn.Linear:
    """A linear layer that starts at zero, or not."""
    return ZeroLinear(inputs, outputs) if zero else nn.Linear(inputs, outputs)


def modulate(
    h: Float[Tensor, "B L D"], shift: Float[Tensor, "B 1 D"], scale: Float[Tensor, "B 1 D"]
) -> Float[Tensor, "B L D"]:
    """h, scaled and shifted by the noise level of its sequence."""
    return h * (1 + scale) + shift


@torch.compiler.assume_constant_result  # a compiler would put their powers into the inner loops
def rotary_tables(length: int, size: int, device: torch.device) -> Rotary:
    """Cosines and sines of the rotary embedding of heads of ``size``, each (length, size / 2).

    They are computed at every call: a non-persistent buffer would come back uninitialized from
    from_pretrained.
    """
    exponents = torch.arange(0, size, 2, device=device, dtype=torch.float32)
    positions = torch.arange(length, device=device, dtype=torch.float32)
    angles = positions[:, None] * 10_000 ** (-exponents / size)
    return angles.cos(), angles.sin()


def rotate(h: Float[Tensor, "B H L S"], rotary: Rotary) -> Float[Tensor, "B H L S"]:
    """Rotate pairs (i, i + size / 2) of the last dimension by the angle of their position."""
    cos, sin = (part.to(h.dtype) for part in rotary)
    a, b = h.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
