"""Pictures: which patches of a video went into which token."""

from retrieval.plots.profile import draw_speed_up, draw_tokens_per_block, setting_of
from retrieval.plots.reduction import draw_reduction
from retrieval.plots.tokens import draw_tokens, token_picture

__all__ = ["draw_reduction", "draw_speed_up", "draw_tokens", "draw_tokens_per_block", "setting_of", "token_picture"]
