"""Clips joined into longer ones: their class tokens first, in clip order, then their patches (TempMe, ICLR 2025)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.reducers.base import Layout, Tokens


def joined_layout(layout: Layout, clips: int) -> Layout:
    """The layout once every `clips` neighbouring clips are one."""
    return Layout(layout.clips // clips, layout.patches * clips, layout.class_tokens * clips)


def join_values(
    x: Float[Tensor, "clip token dim"], class_tokens: int, clips: int
) -> Float[Tensor, "joined_clip joined_token dim"]:
    """Put what every `clips` neighbouring clips have for each token together: class tokens, then patches."""
    grouped = x.unflatten(0, (-1, clips))
    return torch.cat([grouped[:, :, :class_tokens].flatten(1, 2), grouped[:, :, class_tokens:].flatten(1, 2)], dim=1)


def join(tokens: Tokens, clips: int) -> Tokens:
    """Join every `clips` neighbouring clips; padding stays where it is, so that `Tokens.live` has to follow."""
    return Tokens(
        x=join_values(tokens.x, tokens.class_tokens, clips),
        size=join_values(tokens.size, tokens.class_tokens, clips),
        clips=tokens.clips // clips,
        class_tokens=tokens.class_tokens * clips,
        source=None if tokens.source is None else _join_source(tokens.source, tokens.layout, clips),
        padded=tokens.padded,
    )


def _join_source(source: Int[Tensor, "video patch"], layout: Layout, clips: int) -> Int[Tensor, "video patch"]:
    """Only patches have sources, so a token moves behind all class tokens of its joined clip."""
    clip, token = source // layout.tokens, source % layout.tokens
    patch = (clip % clips) * layout.patches + token - layout.class_tokens
    joined = joined_layout(layout, clips)
    return ((clip // clips) * joined.tokens + joined.class_tokens + patch).where(source >= 0, -1)
