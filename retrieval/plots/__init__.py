"""Pictures: which patches of a video went into which token."""

from retrieval.plots.tokens import draw_tokens, token_picture

__all__ = ["draw_tokens", "token_picture"]
