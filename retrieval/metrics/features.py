"""Scores of features: a head's similarities of what it kept of captions and videos.

They are computed in float64 and rounded to float32 once: equal pairs then score equally whatever the block's shape, the
device, autocast or TF32, so that ties stay ties and the ranks do not depend on the chunks.

Cosines on the CPU are multiplied in float32, and in float64 where that could change a rank. A float32 product of unit
vectors is off by at most dim x 2^-24, whatever the order of its sums (Higham, "Accuracy and Stability of Numerical
Algorithms", section 3.1). A rank only asks whether a score is below a right answer's, so the few scores that are nearer
to it than that are computed again: the ranks are those of float64 in half of its time.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from retrieval.heads.base import Similarity
from retrieval.heads.mean import cosine
from retrieval.metrics.scores import Block, ComparableScores, Indices, Scores, check_finite

SHARE = 1 / 256
"""Of a block's scores; where more are near a right answer's, computing the whole block in float64 is faster."""
PART = 8192  # items that are normalised at a time


def feature_scores(
    captions: Float[Tensor, "caption ..."],
    videos: Float[Tensor, "video ..."],
    similarity: Similarity = cosine,
) -> Scores:
    """Similarities of what a head kept of captions and videos, as float32.

    Raises:
        UserError: features that are not finite.
    """
    check_finite(captions, torch.arange(len(captions)), "caption features")
    check_finite(videos, torch.arange(len(videos)), "video features")
    exact = FeatureScores(captions, videos, similarity)
    return Cosines(exact) if similarity is cosine and captions.device.type == "cpu" else exact


@dataclass(frozen=True)
class FeatureScores:
    """The similarities themselves."""

    captions: Float[Tensor, "caption ..."]
    videos: Float[Tensor, "video ..."]
    similarity: Similarity

    def __call__(self, captions: Indices, videos: Indices) -> tuple[Block, Block]:
        block = self.similarity(self.captions[captions].double(), self.videos[videos].double()).float()
        return block, block


class Cosines(ComparableScores):
    """Cosines, of which those that are only compared come faster."""

    def __init__(self, exact: FeatureScores) -> None:
        self.exact = exact
        self.unit_captions, self.caption_norms = _unit(exact.captions)
        self.unit_videos, self.video_norms = _unit(exact.videos)
        self.margin = (exact.captions.shape[1] + 32) * 2.0**-24  # 32: more than rounding before and after adds

    def __call__(self, captions: Indices, videos: Indices) -> tuple[Block, Block]:
        return self.exact(captions, videos)

    def of_pairs(self, captions: Indices, videos: Indices) -> Float[Tensor, " pair"]:
        dots = self.exact.captions[captions].double().mul_(self.exact.videos[videos]).sum(1)
        return (dots / self.caption_norms[captions] / self.video_norms[videos]).float()

    def compared(
        self,
        captions: Indices,
        videos: Indices,
        t2v_right: Float[Tensor, " caption"],
        v2t_right: Float[Tensor, " video"],
    ) -> tuple[Block, Block]:
        block = _product(self.unit_captions.index_select(0, captions), self.unit_videos.index_select(0, videos))
        row, column = self._near(block, t2v_right[:, None], v2t_right[None])
        if len(row) > SHARE * block.numel():
            return self(captions, videos)
        block[row, column] = self.of_pairs(captions[row], videos[column])
        return block, block

    def _near(
        self, block: Block, t2v_right: Float[Tensor, "caption 1"], v2t_right: Float[Tensor, "1 video"]
    ) -> tuple[Indices, Indices]:
        """Rows and columns of what may lie on the other side of a right answer in float64."""
        gap = _squared_gap(block, t2v_right)
        torch.minimum(gap, _squared_gap(block, v2t_right), out=gap)
        limit = self.margin**2
        rows = (gap.amin(1) <= limit).nonzero()[:, 0]
        row, column = (gap.index_select(0, rows) <= limit).nonzero().unbind(1)
        return rows[row], column


def _squared_gap(block: Block, right: Float[Tensor, "#caption #video"]) -> Block:
    """In one pass, where subtracting and squaring would take two."""
    return F.mse_loss(block, right.expand_as(block), reduction="none")


def _unit(features: Float[Tensor, "item dim"]) -> tuple[Float[Tensor, "item dim"], Float[Tensor, " item"]]:
    """Normalised in float64, a part at a time, and rounded to float32; and the float64 norms."""
    unit, norms = torch.empty(features.shape), torch.empty(len(features), dtype=torch.float64)
    for part, into, norm in zip(features.split(PART), unit.split(PART), norms.split(PART), strict=True):
        exact = part.double()
        torch.linalg.vector_norm(exact, dim=1, out=norm).clamp_(min=1e-12)  # as F.normalize does
        into.copy_(exact / norm[:, None])
    return unit, norms


def _product(captions: Float[Tensor, "caption dim"], videos: Float[Tensor, "video dim"]) -> Block:
    """In float32 throughout: autocast does not make bfloat16 of it, nor a lower precision (see `a_core_each`)."""
    with torch.autocast("cpu", enabled=False):
        return captions @ videos.T
