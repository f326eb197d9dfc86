"""Sparse sampling of the patches of each segment (the baseline of CenterCLIP, SIGIR 2022; after TSN, ECCV 2016)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.reducers.segments import Schedule, SegmentReducer


class SparseSampling(SegmentReducer):
    """Cut the patches of a segment, its frames one behind the other, into equal parts and keep one of each.

    A random one in training, the centre in evaluation; the others are dropped.

    Args:
        frames: see `SegmentReducer`.
        block: see `SegmentReducer`.
        num_segments: see `SegmentReducer`.
        num_clusters: patches kept per segment: a number, or one for each block that reduces.

    Raises:
        UserError: settings that contradict each other; when the tower is built, those that do not fit it.
    """

    def __init__(
        self, frames: int = 12, block: Schedule = 6, num_segments: Schedule = 4, num_clusters: Schedule = 49
    ) -> None:
        super().__init__(frames, block, num_segments, num_clusters)

    def reduce(
        self, patches: Float[Tensor, "segment frame patch dim"], block: int
    ) -> tuple[Float[Tensor, "segment left dim"], Int[Tensor, "segment frame*patch"]]:
        points = patches.flatten(1, 2)
        kept = self._kept(points, self.num_clusters[block])
        destination = torch.full(points.shape[:2], -1, device=points.device)
        destination.scatter_(1, kept, torch.arange(kept.shape[1], device=points.device).expand_as(kept))
        return points.gather(1, kept.unsqueeze(2).expand(-1, -1, points.shape[2])), destination

    def _kept(self, points: Float[Tensor, "segment point dim"], parts: int) -> Int[Tensor, "segment {parts}"]:
        bounds = torch.arange(parts + 1, device=points.device) * points.shape[1] // parts
        start, length = bounds[:-1], bounds.diff()
        if not self.training:
            return (start + length // 2).expand(len(points), -1)
        return start + (torch.rand(len(points), parts, device=points.device) * length).long()
