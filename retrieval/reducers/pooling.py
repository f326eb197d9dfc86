"""Mean pooling over the frames of each segment, position by position (the baseline of CenterCLIP, SIGIR 2022)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.reducers.segments import Schedule, SegmentReducer


class Pooling(SegmentReducer):
    """Average the frames of each segment; for its settings see `SegmentReducer`."""

    def __init__(self, frames: int = 12, block: Schedule = 6, num_segments: Schedule = 6) -> None:
        super().__init__(frames, block, num_segments)

    def reduce(
        self, patches: Float[Tensor, "segment frame patch dim"], block: int
    ) -> tuple[Float[Tensor, "segment patch dim"], Int[Tensor, "segment frame*patch"]]:
        segments, frames, count, _ = patches.shape
        position = torch.arange(count, device=patches.device).repeat(frames)
        return patches.mean(1), position.expand(segments, -1)
