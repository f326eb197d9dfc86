"""Scores of captions against videos, a block at a time, so that the full matrix need never exist.

A `Scores` gives, for some captions and some videos, two blocks [caption, video]: the scores that rank videos for a
caption (t2v) and those that rank captions for a video (v2t). Plain scores are the same for both; a rescoring
(`rescoring.py`) makes them differ.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.errors import UserError
from retrieval.heads.base import Similarity
from retrieval.heads.mean import cosine

Indices = Int[Tensor, " _"]
Block = Float[Tensor, "caption video"]
Scores = Callable[[Indices, Indices], tuple[Block, Block]]


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


def feature_scores(
    captions: Float[Tensor, "caption ..."],
    videos: Float[Tensor, "video ..."],
    similarity: Similarity = cosine,
) -> Scores:
    """Similarities of what a head kept of captions and videos, as float32.

    They are computed in float64 and rounded once: equal pairs then score equally whatever the block's shape, the
    device, autocast or TF32, so that ties stay ties and the ranks do not depend on the chunks.

    Raises:
        UserError: features that are not finite.
    """
    check_finite(captions, torch.arange(len(captions)), "caption features")
    check_finite(videos, torch.arange(len(videos)), "video features")

    def scores(caption: Indices, video: Indices) -> tuple[Block, Block]:
        block = similarity(captions[caption].double(), videos[video].double()).float()
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
