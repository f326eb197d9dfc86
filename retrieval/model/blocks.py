"""The transformer block of both towers: open_clip's own weights, with attention that also returns its keys."""

import torch
from jaxtyping import Float
from open_clip import transformer
from torch import Tensor, nn

from retrieval.full_precision import without_autocast
from retrieval.model.activations import QuickGELU
from retrieval.model.attention import attention
from retrieval.model.halves import half


class Attention(nn.Module):
    """Multi-head self-attention on PyTorch's fused kernels, with the joint q-k-v projection as a `Linear` for LoRA."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        width = attention.embed_dim
        self.heads = attention.num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.qkv.weight = attention.in_proj_weight
        self.qkv.bias = attention.in_proj_bias
        self.out = attention.out_proj

    def forward(
        self,
        x: Float[Tensor, "batch token dim"],
        key_bias: Float[Tensor, "batch token 1"] | None = None,
        causal: bool = False,
        class_rows: int = 0,
    ) -> tuple[Float[Tensor, "batch token dim"], Float[Tensor, "batch token key"], Float[Tensor, "batch token"] | None]:
        """Attend.

        Args:
            x: the tokens.
            key_bias: added to the attention logits of each key token.
            causal: let tokens see only themselves and those before them.
            class_rows: leading tokens whose attention is asked for.

        Returns:
            The attended tokens, the keys averaged over heads, and what the class rows attend to; None without any.
        """
        split = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)  # so that gradients come back in one copy
        q, k, v = (part.transpose(1, 2) for part in split)
        attended = attention(q, k, v, key_bias, causal)
        seen = row_attention(q[:, :, :class_rows], k, key_bias) if class_rows else None
        return self.out(attended.transpose(1, 2).flatten(2)), k.mean(dim=1), seen


def row_attention(
    q: Float[Tensor, "batch head row channel"],
    k: Float[Tensor, "batch head token channel"],
    key_bias: Float[Tensor, "batch token 1"] | None,
) -> Float[Tensor, "batch token"]:
    """The softmax weights of these rows alone, averaged over heads and rows, in float32 at least."""
    precision = torch.promote_types(q.dtype, torch.float32)
    with without_autocast(q):  # patches are sorted by these: half precision would make ties
        logits = q.to(precision) @ k.to(precision).transpose(2, 3) * q.shape[-1] ** -0.5
    if key_bias is not None:
        logits = logits + key_bias.transpose(1, 2).unsqueeze(1)
    return logits.softmax(dim=-1).mean(dim=(1, 2))


class Block(nn.Module):
    """A pre-norm block in its two halves, so that a reducer can act between them.

    Attributes:
        compiled: whether they run compiled.
        checkpointed: whether training keeps only their inputs and computes them again going backward.
    """

    compiled = False
    checkpointed = False

    def __init__(self, block: transformer.ResidualAttentionBlock) -> None:
        super().__init__()
        self.ln_1, self.attn, self.ls_1 = block.ln_1, Attention(block.attn), block.ls_1
        self.ln_2, self.mlp, self.ls_2 = block.ln_2, block.mlp, block.ls_2
        if isinstance(self.mlp.gelu, transformer.QuickGELU):
            self.mlp.gelu = QuickGELU()

    @property
    def mlp_width(self) -> int:
        """Channels between the MLP's two layers."""
        return self.mlp.c_fc.out_features

    @half
    def attend(
        self,
        x: Float[Tensor, "batch token dim"],
        key_bias: Float[Tensor, "batch token 1"] | None = None,
        causal: bool = False,
        class_rows: int = 0,
    ) -> tuple[Float[Tensor, "batch token dim"], Float[Tensor, "batch token key"], Float[Tensor, "batch token"] | None]:
        """The first half, with its residual; also the keys, and what the class rows attend to."""
        attended, keys, seen = self.attn(self.ln_1(x), key_bias, causal, class_rows)
        return x + self.ls_1(attended), keys, seen

    @half
    def feed_forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """The second half, with its residual."""
        return x + self.ls_2(self.mlp(self.ln_2(x)))
