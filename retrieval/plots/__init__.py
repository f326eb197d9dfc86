"""Pictures: which patches of a video went into which token."""

from retrieval.plots.reduction import draw_reduction
from retrieval.plots.tokens import draw_tokens, token_picture

__all__ = ["draw_reduction", "draw_tokens", "token_picture"]
