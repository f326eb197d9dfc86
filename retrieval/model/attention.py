"""Fused attention with a bias on its keys: proportional attention (ToMe, Bolya et al., ICLR 2023, eq. 1) and padding.

Fused kernels of CUDA are fastest without a mask. There, in half precision, the bias travels as further channels of
queries and keys, as q.k + 1 b; elsewhere it is a mask.
"""

import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional as F

from retrieval.full_precision import without_autocast

Heads = Float[Tensor, "batch head token channel"]

PARTS = 3
"""Numbers of half precision that make up one of float32: 24 bits, of which bfloat16 has 8."""

LEAST = -2048.0
"""Stands for minus infinity: its exponential is 0, and neither it nor its difference to others overflows float16."""


def attention(q: Heads, k: Heads, v: Heads, key_bias: Float[Tensor, "batch token 1"] | None, causal: bool) -> Heads:
    """Softmax(q k / sqrt(channels) + bias) v, the bias in float32 whatever the precision of the others.

    Args:
        q: queries.
        k: keys.
        v: values.
        key_bias: of each key token, which receives its gradient; minus infinity for those that nobody sees.
        causal: let tokens see only themselves and those before them.
    """
    if key_bias is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    if q.is_cuda and q.dtype in (torch.bfloat16, torch.float16):
        return attention_by_channels(q, k, v, key_bias, causal)
    return attention_by_mask(q, k, v, key_bias, causal)


def attention_by_mask(
    q: Heads, k: Heads, v: Heads, key_bias: Float[Tensor, "batch token 1"], causal: bool = False
) -> Heads:
    """With the bias as a mask."""
    mask = key_bias.to(torch.promote_types(q.dtype, torch.float32)).transpose(1, 2).unsqueeze(1)
    if causal:
        mask = mask + mask.new_full((q.shape[2], q.shape[2]), -torch.inf).triu(1)
    with without_autocast(q):  # which would round the mask
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def attention_by_channels(
    q: Heads, k: Heads, v: Heads, key_bias: Float[Tensor, "batch token 1"], causal: bool = False
) -> Heads:
    """With the bias in further channels of the keys, where the queries are 1.

    Channels are filled up to a multiple of 8, and the values' to as many, as the kernels want them.
    """
    channels = q.shape[-1]
    bias = key_bias.float().clamp(min=LEAST) * channels**0.5  # which the scale takes back
    parts = _parts(bias, q.dtype).unsqueeze(1).expand(-1, q.shape[1], -1, -1)
    empty = -(channels + PARTS) % 8
    q = F.pad(F.pad(q, (0, PARTS), value=1.0), (0, empty))
    k = F.pad(torch.cat([k, parts], dim=-1), (0, empty))
    v = F.pad(v, (0, PARTS + empty))
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=channels**-0.5)[..., :channels]


def _parts(bias: Float32[Tensor, "batch token 1"], dtype: torch.dtype) -> Float[Tensor, "batch token part"]:
    """Numbers of `dtype` whose sum is the bias, largest first."""
    parts = []
    for _ in range(PARTS):
        parts.append(bias.to(dtype))
        bias = bias - parts[-1].float()
    return torch.cat(parts, dim=-1)
