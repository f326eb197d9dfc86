"""TempMe: progressive temporal token merging (Shen et al., ICLR 2025).

Early blocks merge inside frames, as ToMe does (the paper's image merging). From the first joining block on,
neighbouring clips are put together and their tokens merged across clips, then within the longer clip, until the video
is one clip.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from retrieval.errors import UserError
from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape, plan
from retrieval.reducers.joining import join, join_values, joined_layout
from retrieval.reducers.tome import after_merging, merge_patches


class TempMe(Reducer):
    """Image merging, then cross-clip and intra-clip merging; a clip merges half of its patches at a time at the most.

    With all merges at 0 clips are only joined (the paper's temporal modelling); without joins frames stay apart.

    Args:
        frames: frames per video.
        join_blocks: blocks, counted from 0, that join neighbouring clips; none at all where frames stay apart.
        join_clips: how many clips each of them joins.
        image_merge: token pairs merged in each frame by each block before the first join.
        merge_ratio: share of the joined clip's tokens merged across clips, by each joining block.
        intra_merge_ratio: share of a clip's tokens merged after attention, from the first join on.
        positions: learn a temporal position for each clip of each join, added as it joins.
        proportional_attention: add log(size) to the attention logits.

    Raises:
        UserError: settings that contradict each other; when the tower is built, those that do not fit it.
    """

    frames: int
    takes_padding = True

    def __init__(
        self,
        frames: int = 12,
        join_blocks: Sequence[int] = (8, 9, 10),
        join_clips: Sequence[int] = (2, 2, 3),
        image_merge: int = 2,
        merge_ratio: float = 0.3,
        intra_merge_ratio: float = 0.1,
        positions: bool = True,
        proportional_attention: bool = True,
    ) -> None:
        super().__init__()
        _check_joins(frames, list(join_blocks), list(join_clips))
        _check_merges(image_merge, merge_ratio, intra_merge_ratio)
        self.frames = frames
        self.joins = dict(zip(join_blocks, join_clips, strict=True))
        self.image_merge = image_merge
        self.across, self.within = float(merge_ratio), float(intra_merge_ratio)
        self.learns_positions = positions
        self.proportional_attention = proportional_attention
        self.positions = nn.ParameterDict()

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        if any(block >= tower.blocks for block in self.joins):
            raise UserError(
                f"reducer.join_blocks={list(self.joins)}, but the video tower has blocks 0 to {tower.blocks - 1}"
            )
        layouts = plan(self, tower, self.frames)
        if self.learns_positions:
            for block, joined in self.joins.items():
                clips = layouts[block][0].clips * joined
                self.positions[str(block)] = nn.Parameter(torch.zeros(1, clips, 1, tower.width))

    def layout_before_attention(self, layout: Layout, block: int) -> Layout:
        if block not in self.joins:
            return layout
        return after_merging(joined_layout(layout, self.joins[block]), self.across)

    def layout_after_attention(self, layout: Layout, block: int) -> Layout:
        return after_merging(layout, self._merges_inside(block))

    def before_attention(self, tokens: Tokens, block: int) -> Tokens:
        """Join neighbouring clips and merge across them, matched on the tokens before their position is added."""
        if block not in self.joins:
            return tokens
        metric = join_values(tokens.x, tokens.class_tokens, self.joins[block])
        if self.learns_positions:
            x = tokens.x.unflatten(0, (-1, tokens.clips)) + self.positions[str(block)]
            tokens = tokens.with_x(x.flatten(0, 1))
        joined = join(tokens, self.joins[block])
        if joined.padded:
            live = joined.live()
            joined, metric = joined.select(live), metric.gather(1, live.unsqueeze(2).expand(-1, -1, metric.shape[2]))
        return merge_patches(joined, metric, self.across)

    def after_attention(self, tokens: Tokens, keys: Float[Tensor, "clip token key"], block: int) -> Tokens:
        return merge_patches(tokens, keys, self._merges_inside(block))

    def _merges_inside(self, block: int) -> int | float:
        """Pairs to merge in each clip after attention."""
        return self.within if any(joining <= block for joining in self.joins) else self.image_merge


def _check_joins(frames: int, blocks: list[int], clips: list[int]) -> None:
    if len(blocks) != len(clips):
        raise UserError(
            f"reducer.join_blocks={blocks} and reducer.join_clips={clips}: "
            "name one number of clips for each joining block"
        )
    if min(blocks, default=0) < 0 or any(later <= earlier for earlier, later in pairwise(blocks)):
        raise UserError(f"reducer.join_blocks={blocks}: the blocks must ascend, from 0 on")
    if min(clips, default=1) < 1 or frames % prod(clips):
        raise UserError(
            f"reducer.join_clips={clips} join {prod(clips)} frames into one clip, which does not divide "
            f"frames={frames}: change data.frames or reducer.join_clips"
        )


def _check_merges(image_merge: int, merge_ratio: float, intra_merge_ratio: float) -> None:
    if image_merge < 0:
        raise UserError(f"reducer.image_merge={image_merge}: the number of merges cannot be negative")
    for knob, ratio in (("merge_ratio", merge_ratio), ("intra_merge_ratio", intra_merge_ratio)):
        if not 0 <= ratio <= 1:
            raise UserError(f"reducer.{knob}={ratio}: a share of the tokens, between 0 and 1")
