"""Pictures: which patches of a video went into which token."""

from retrieval.pictures.reduction import draw_reduction
from retrieval.pictures.tokens import draw_tokens

__all__ = ["draw_reduction", "draw_tokens"]
