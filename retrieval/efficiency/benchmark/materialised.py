"""CLIP's blocks as the published code of TempMe (ICLR 2025) computes them: what ours are measured against.

Attention with its logits and weights in memory, adapters added to queries, keys and values apart, QuickGELU in three
steps. TempMe's own code is no part of this; the same tower and reducer as ours run these blocks.
"""

from jaxtyping import Float
from open_clip.transformer import QuickGELU
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from retrieval.model import CLIP, activations
from retrieval.model.blocks import Attention
from retrieval.model.tuning import ADAPTER


class Materialised(nn.Module):
    """The same numbers as `Attention`, step by step."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = attention.heads, attention.qkv, attention.out

    def forward(
        self,
        x: Float[Tensor, "batch token dim"],
        key_bias: Float[Tensor, "batch token 1"] | None = None,
        causal: bool = False,
        class_rows: int = 0,
    ) -> tuple[Float[Tensor, "batch token dim"], Float[Tensor, "batch token key"], Float[Tensor, "batch token"] | None]:
        """As `Attention.forward`."""
        q, k, v = self._heads(getattr(self.qkv, "base_layer", self.qkv)(x))
        if isinstance(self.qkv, LoraLayer):
            more = self._heads(self.qkv.lora_B[ADAPTER](self.qkv.lora_A[ADAPTER](x)))
            q, k, v = q + more[0], k + more[1], v + more[2]
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if causal:
            logits = logits + logits.new_full(logits.shape[-2:], float("-inf")).triu(1)
        if key_bias is not None:
            logits = logits + key_bias[:, None, None, :, 0]
        weights = logits.softmax(dim=-1)
        seen = weights[:, :, :class_rows].mean(dim=(1, 2)) if class_rows else None
        return self.out((weights @ v).transpose(1, 2).flatten(2)), k.mean(1), seen

    def _heads(self, qkv: Float[Tensor, "batch token width"]) -> Float[Tensor, "3 batch head token dim"]:
        return qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)


def materialise(model: CLIP) -> CLIP:
    """Let the blocks of both towers compute as the published code's do."""
    for block in (*model.visual.blocks, *model.text.blocks):
        block.attn = Materialised(block.attn)  # type: ignore[assignment]
        if isinstance(block.mlp.gelu, activations.QuickGELU):
            block.mlp.gelu = QuickGELU()
    return model
