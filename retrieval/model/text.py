"""The text tower: CLIP's causal transformer, read at the end-of-text token."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from open_clip import CLIP, SimpleTokenizer
from open_clip.transformer import ResidualAttentionBlock, text_global_pool
from torch import Tensor, nn

from retrieval.errors import UserError
from retrieval.model.blocks import Block


class TextTower(nn.Module):
    """Encodes token ids of any length up to the positions that the weights have.

    Raises:
        UserError: a text tower of another kind than CLIP's.
    """

    blocks: Sequence[Block]

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        if any(type(block) is not ResidualAttentionBlock for block in clip.transformer.resblocks):
            raise UserError("text tower with other than open_clip's standard blocks")
        self.token_embedding, self.positional_embedding = clip.token_embedding, clip.positional_embedding
        self.blocks = nn.ModuleList(map(Block, clip.transformer.resblocks))  # type: ignore[assignment]
        self.ln_final, self.text_projection = clip.ln_final, clip.text_projection
        self.pool_type, self.eos_id = clip.text_pool_type, clip.text_eos_id
        self.width: int = clip.text_projection.shape[0]
        self.causal = clip.attn_mask is not None

    def forward(self, token_ids: Int[Tensor, "text word"]) -> Float[Tensor, "text dim"]:
        """Text features, not normalised; as many words as there are positions at the most."""
        x = self.token_embedding(token_ids) + self.positional_embedding[: token_ids.shape[1]]
        for block in self.blocks:
            x = block.feed_forward(block.attend(x, causal=self.causal)[0])
        pooled = text_global_pool(self.ln_final(x), token_ids, self.pool_type, self.eos_id)
        return pooled @ self.text_projection


class Tokenizer:
    """CLIP's byte-pair tokenizer for texts of a fixed number of words.

    Args:
        words: token ids per text, start and end marks counted; longer texts are cut.
        vocabulary: rows of the text tower's embedding.
        positions: longest text that the tower reads.

    Raises:
        UserError: the tower's vocabulary is not CLIP's, or it reads fewer words.
    """

    def __init__(self, words: int, vocabulary: int, positions: int) -> None:
        if not 3 <= words <= positions:
            raise UserError(f"words={words}: the text tower reads 3 to {positions}")
        self.tokenizer = SimpleTokenizer(context_length=words)
        if self.tokenizer.vocab_size != vocabulary:
            raise UserError(
                f"the text tower has a vocabulary of {vocabulary}, CLIP's tokenizer one of "
                f"{self.tokenizer.vocab_size}: give token ids of your own to encode_text"
            )

    def __call__(self, texts: list[str]) -> Int[Tensor, "text word"]:
        return self.tokenizer(texts).to(torch.long)
