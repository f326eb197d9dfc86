"""What the reducers of CenterCLIP (SIGIR 2022) share: schedules, and segments of neighbouring frames.

At the entry of some blocks the clips of a video are grouped into fewer, longer segments. A segment's class token is the
mean of its clips' class tokens; what becomes of its patches is each reducer's own choice.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.errors import UserError
from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape, follow, plan

Schedule = int | Sequence[int]
"""A knob: a number, or a list with one for each block that acts."""


def acting_blocks(block: Schedule, knob: str = "block") -> list[int]:
    """The blocks that act, ascending.

    Raises:
        UserError: no block, a negative one, or blocks out of order.
    """
    blocks = [block] if isinstance(block, int) else list(block)
    if not blocks or blocks[0] < 0 or blocks != sorted(set(blocks)):
        raise UserError(f"reducer.{knob}={block}: blocks are counted from 0 and must ascend")
    return blocks


def per_block(block: Schedule, knob: str, value: Schedule) -> dict[int, int]:
    """The value of a knob at each block that acts; a single number holds at all of them.

    Raises:
        UserError: another number of values than blocks, or a value below 1.
    """
    blocks = acting_blocks(block)
    values = [value] * len(blocks) if isinstance(value, int) else list(value)
    if len(values) != len(blocks):
        raise UserError(f"reducer.{knob}={values} for reducer.block={blocks}: give one number, or one for each block")
    if min(values) < 1:
        raise UserError(f"reducer.{knob}={value}: must be at least 1")
    return dict(zip(blocks, values, strict=True))


def check_blocks(blocks: Sequence[int], tower: TowerShape, knob: str = "block") -> None:
    """Check that the tower has the blocks that act.

    Raises:
        UserError: it ends before.
    """
    if any(block >= tower.blocks for block in blocks):
        raise UserError(f"reducer.{knob}={list(blocks)}, but the video tower has blocks 0 to {tower.blocks - 1}")


class SegmentReducer(Reducer):
    """Groups clips into segments at the entry of some blocks; subclasses say what becomes of a segment's patches.

    Args:
        frames: frames per video.
        block: block, or ascending blocks, counted from 0, that reduce before their attention.
        num_segments: segments per video from each of these blocks on; each must divide what is there before.
        num_clusters: patches left of each segment, a number or one for each of the blocks; None leaves as many as a
            frame has.

    Raises:
        UserError: settings that contradict each other; when the tower is built, those that do not fit it.
    """

    frames: int

    def __init__(
        self, frames: int, block: Schedule, num_segments: Schedule, num_clusters: Schedule | None = None
    ) -> None:
        super().__init__()
        self.frames = frames
        self.num_segments = per_block(block, "num_segments", num_segments)
        self.num_clusters = {} if num_clusters is None else per_block(block, "num_clusters", num_clusters)
        clips = frames
        for at, segments in self.num_segments.items():
            clips = _divided(clips, segments, at)

    @abstractmethod
    def reduce(
        self, patches: Float[Tensor, "segment frame patch dim"], block: int
    ) -> tuple[Float[Tensor, "segment left dim"], Int[Tensor, "segment frame*patch"]]:
        """The patches that travel on, and for each of the old ones which it went into (-1: dropped)."""

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        check_blocks(list(self.num_segments), tower)
        plan(self, tower, self.frames)

    def layout_before_attention(self, layout: Layout, block: int) -> Layout:
        if block not in self.num_segments:
            return layout
        segments = _divided(layout.clips, self.num_segments[block], block)
        left = self.num_clusters.get(block, layout.patches)
        frames = layout.clips // segments
        if left > frames * layout.patches:
            raise UserError(
                f"reducer.num_clusters={left} at block {block}, but a segment has {frames} x {layout.patches} patches "
                "there: lower reducer.num_clusters or reducer.num_segments"
            )
        return replace(layout, clips=segments, patches=left)

    def before_attention(self, tokens: Tokens, block: int) -> Tokens:
        if block not in self.num_segments:
            return tokens
        segments = _divided(tokens.clips, self.num_segments[block], block)
        x, size = (value.unflatten(0, (-1, tokens.clips // segments)) for value in (tokens.x, tokens.size))
        patches, destination = self.reduce(x[:, :, tokens.class_tokens :], block)
        size_of_patches = _summed(size[:, :, tokens.class_tokens :].flatten(1), destination, patches.shape[1])
        return Tokens(
            x=torch.cat([x[:, :, : tokens.class_tokens].mean(1), patches], dim=1),
            size=torch.cat([size[:, :, : tokens.class_tokens].mean(1), size_of_patches.unsqueeze(2)], dim=1),
            clips=segments,
            class_tokens=tokens.class_tokens,
            source=_moved(tokens, destination.unflatten(0, (-1, segments)), patches.shape[1]),
        )


def _divided(clips: int, segments: int, block: int) -> int:
    """The number of segments, if the clips can be shared out evenly."""
    if clips % segments:
        raise UserError(
            f"reducer.num_segments={segments} at block {block} does not divide the {clips} frames or segments there: "
            "change reducer.num_segments or data.frames"
        )
    return segments


def _summed(
    size: Float[Tensor, "segment patch"], destination: Int[Tensor, "segment patch"], left: int
) -> Float[Tensor, "segment {left}"]:
    """The sizes of all patches that went into each; those that were dropped are in none."""
    kept = size.where(destination >= 0, 0)
    return size.new_zeros(len(size), left).scatter_add(1, destination.clamp(min=0), kept)


def _moved(
    tokens: Tokens, destination: Int[Tensor, "video segment frame_patch"], left: int
) -> Int[Tensor, "video patch"] | None:
    """The sources, given where each patch of a segment went in it; class tokens are no one's source."""
    if tokens.source is None:
        return None
    segments = destination.shape[1]
    start = torch.arange(segments, device=destination.device)[:, None] * (tokens.class_tokens + left)
    moved = (destination + start + tokens.class_tokens).where(destination >= 0, -1)
    of_clips = moved.flatten(1).unflatten(1, (tokens.clips, -1))
    return follow(tokens.source, F.pad(of_clips, (tokens.class_tokens, 0), value=-1).flatten(1))
