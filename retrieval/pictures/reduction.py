"""A picture of a video's tokens after the blocks that reduce them."""

from jaxtyping import UInt8
from matplotlib.figure import Figure
from torch import Tensor

from retrieval.model import CLIP
from retrieval.pictures.tokens import draw_tokens
from retrieval.reducers import Layout, plan

MOST_BLOCKS = 4


def draw_reduction(model: CLIP, frames: UInt8[Tensor, "frame 3 height width"]) -> Figure | None:
    """`draw_tokens` at up to four of the blocks that change the number of tokens, always the last of them.

    Args:
        model: its reducer is the one that is drawn.
        frames: bytes of one video, of the model's size.

    Returns:
        None where the reducer leaves all tokens as they are.
    """
    blocks = reducing_blocks(model, len(frames))
    step = -(-len(blocks) // MOST_BLOCKS)
    return draw_tokens(model, frames, blocks[::-1][::step][::-1]) if blocks else None


def reducing_blocks(model: CLIP, frames: int) -> list[int]:
    """The blocks that leave another layout of tokens than they were given; the first where pixels decide before it."""
    reducer = model.visual.reducer
    after = [layout for _, layout in plan(reducer, model.visual.shape, frames)]
    before = [Layout(frames, model.visual.shape.patches), *after]
    first = range(int(reducer.ragged))
    return [block for block, layout in enumerate(after) if layout != before[block] or block in first]
