"""Sparse sampling of the patches of each segment (the baseline of CenterCLIP, SIGIR 2022; after TSN, ECCV 2016)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.reducers.segments import Schedule, SegmentReducer


class SparseSampling(SegmentReducer):
    """Keep one of every few patches of a segment, its frames one behind the other, and drop the others.

    In evaluation those at the centres of as many equal parts as are kept; in training a random one of each part, which
    is then a whole number of patches long, so that what is left over at the end is never drawn.

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
        kept = self._kept(points, self.num_clusters[block]).expand(len(points), -1)
        destination = torch.full(points.shape[:2], -1, device=points.device)
        destination.scatter_(1, kept, torch.arange(kept.shape[1], device=points.device).expand_as(kept))
        return points.gather(1, kept.unsqueeze(2).expand(-1, -1, points.shape[2])), destination

    def _kept(self, points: Float[Tensor, "segment point dim"], kept: int) -> Int[Tensor, "drawn {kept}"]:
        """Positions among the points, drawn for each segment in training."""
        count = points.shape[1]
        if not self.training:
            return centres(count, kept, points.device).unsqueeze(0)
        length = count // kept
        start = length * torch.arange(kept, device=points.device)
        return start + torch.randint(length, (len(points), kept), device=points.device)


def centres(points: int, kept: int, device: torch.device | str = "cpu") -> Int[Tensor, " {kept}"]:
    """The middles of `kept` equal parts of `points` positions, cut to integers as the published code does."""
    tick = points / kept
    return (tick / 2 + tick * torch.arange(kept, dtype=torch.float64, device=device)).long()
