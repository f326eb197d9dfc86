"""The text tower: CLIP's causal transformer."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from open_clip import CLIP, SimpleTokenizer
from torch import Tensor, nn

from retrieval.errors import UserError
from retrieval.model.blocks import Block


class TextTower(nn.Module):
    """Encodes token ids of any length up to the positions that the weights have.

    Raises:
        UserError: a tower whose captions do not end in a word of their own.
    """

    blocks: Sequence[Block]

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        if clip.text_pool_type not in ("argmax", "eos"):
            raise UserError(f"text tower with {clip.text_pool_type} pooling: only those that read an end mark work")
        self.token_embedding, self.positional_embedding = clip.token_embedding, clip.positional_embedding
        self.blocks = nn.ModuleList(map(Block, clip.transformer.resblocks))  # type: ignore[assignment]
        self.ln_final, self.text_projection = clip.ln_final, clip.text_projection
        self.eos_id = clip.text_eos_id if clip.text_pool_type == "eos" else None
        self.width: int = clip.text_projection.shape[0]
        self.causal = clip.attn_mask is not None

    def forward(
        self, token_ids: Int[Tensor, "text word"], every_word: bool = False
    ) -> tuple[Float[Tensor, "text kept dim"], Bool[Tensor, "text kept"]]:
        """The projected words of each caption, not normalised, and which of them are real.

        Args:
            token_ids: as many words as there are positions at the most.
            every_word: all words, the real ones first; else the end mark alone, which has seen them all.
        """
        x = self.token_embedding(token_ids) + self.positional_embedding[: token_ids.shape[1]]
        for block in self.blocks:
            x = block.feed_forward(block.attend(x, causal=self.causal)[0])
        x, end = self.ln_final(x), self._end(token_ids)
        if every_word:
            places = torch.arange(x.shape[1], device=x.device)
            return x @ self.text_projection, places <= end[:, None]
        pooled = x[torch.arange(len(x), device=x.device), end, None]
        return pooled @ self.text_projection, torch.ones_like(end[:, None], dtype=torch.bool)

    def _end(self, token_ids: Int[Tensor, "text word"]) -> Int[Tensor, " text"]:
        """Where each caption's end mark stands: OpenAI's is the highest id, others name theirs."""
        return (token_ids if self.eos_id is None else (token_ids == self.eos_id).int()).argmax(dim=1)


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
