"""Scores of captions against videos, a block at a time, so that the full matrix need never exist.

A `Scores` gives, for some captions and some videos, two blocks [caption, video]: the scores that rank videos for a
caption (t2v) and those that rank captions for a video (v2t). Plain scores are the same for both; a rescoring
(`rescoring.py`) makes them differ. Whoever asked for the blocks may overwrite them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.errors import UserError

Indices = Int[Tensor, " _"]
Block = Float[Tensor, "caption video"]
Scores = Callable[[Indices, Indices], tuple[Block, Block]]


class ComparableScores(ABC):
    """Scores that are faster where only their order relative to the right answers' is asked for."""

    @abstractmethod
    def __call__(self, captions: Indices, videos: Indices) -> tuple[Block, Block]:
        """The scores themselves."""

    @abstractmethod
    def of_pairs(self, captions: Indices, videos: Indices) -> Float[Tensor, " pair"]:
        """The score of each caption with the video at its place."""

    @abstractmethod
    def compared(
        self,
        captions: Indices,
        videos: Indices,
        t2v_right: Float[Tensor, " caption"],
        v2t_right: Float[Tensor, " video"],
    ) -> tuple[Block, Block]:
        """Blocks that lie below, at or above each caption's and each video's right answer as the scores do."""


def matrix_scores(similarity: Float[Tensor, "caption video"]) -> Scores:
    """Scores read from a given matrix, at the precision it has.

    Raises:
        UserError: entries that are not finite.
    """
    check_finite(similarity, torch.arange(len(similarity)), "rows of the similarity matrix")

    def scores(captions: Indices, videos: Indices) -> tuple[Block, Block]:
        block = similarity[captions][:, videos]
        return block, block

    return scores


def check_finite(values: Float[Tensor, "row ..."], index: Int[Tensor, " row"], name: str) -> None:
    """Raise a UserError that counts and names the rows of `values` with NaN or inf."""
    broken = ~values.isfinite().flatten(1).all(dim=1)
    if not broken.any():
        return
    numbers = index[broken.to(index.device)].tolist()
    which = ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")
    raise UserError(
        f"{len(numbers)} of {len(values)} {name} hold NaN or inf (index {which}): "
        "check the weights, the learning rate and the precision"
    )
