"""Rescorings: scores that look at all queries at once before anything is ranked.

A search engine sees one query at a time and cannot do this, so their results are named apart from the plain ones.
Dual softmax: Cheng et al. 2021, "Improving Video-Text Retrieval by Multi-Stream Corpus Alignment and Dual Softmax
Loss", eq. 6. Another one (QB-Norm, say) is one more function from `Scores` to `Scores` and its line in `RESCORINGS`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.metrics.scores import Block, Indices, Scores


def dual_softmax(scores: Scores, captions: Sequence[Indices], videos: Sequence[Indices], temperature: float) -> Scores:
    """Score times its softmax along the other axis: over all captions for t2v, over all videos for v2t.

    Args:
        scores: plain scores.
        captions: all captions, in chunks.
        videos: all videos, in chunks.
        temperature: factor on the scores before the softmax.
    """
    over_captions, over_videos = _log_partitions(scores, captions, videos, temperature)

    def rescored(caption: Indices, video: Indices) -> tuple[Block, Block]:
        t2v, v2t = (block.double() for block in scores(caption, video))
        t2v_weight = (temperature * t2v - over_captions[video]).exp()
        v2t_weight = (temperature * v2t - over_videos[caption, None]).exp()
        return _round_to_float32_digits(t2v * t2v_weight), _round_to_float32_digits(v2t * v2t_weight)

    return rescored


RESCORINGS = {"dual_softmax": dual_softmax}


def _log_partitions(
    scores: Scores, captions: Sequence[Indices], videos: Sequence[Indices], temperature: float
) -> tuple[Float[Tensor, " video"], Float[Tensor, " caption"]]:
    """log sum exp(temperature x score) over all captions of each video, and over all videos of each caption."""
    empty = torch.full((), -torch.inf, dtype=torch.float64, device=captions[0].device)
    over_captions = empty.repeat(sum(map(len, videos)))
    over_videos = empty.repeat(sum(map(len, captions)))
    for caption in captions:
        for video in videos:
            t2v, v2t = scores(caption, video)
            over_captions[video] = over_captions[video].logaddexp((temperature * t2v.double()).logsumexp(0))
            over_videos[caption] = over_videos[caption].logaddexp((temperature * v2t.double()).logsumexp(1))
    return over_captions.round(decimals=9), over_videos.round(decimals=9)


def _round_to_float32_digits(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """float64 rounded to the 24 digits of float32 but with its own range (Veltkamp's splitting).

    A cast would turn the small weights into zeros, all tied; no rounding would let the last bit break true ties.
    """
    spread = x * (2**29 + 1)
    return spread - (spread - x)
