"""Rescorings: scores that look at other queries too before anything is ranked, and so are named apart in the results.

Dual softmax: Cheng et al. 2021, "Improving Video-Text Retrieval by Multi-Stream Corpus Alignment and Dual Softmax
Loss", eq. 6; it sees all test queries at once, which a search engine cannot. QB-Norm: Bogolin et al., CVPR 2022, "Cross
Modal Retrieval with Querybank Normalisation", by its dynamic inverted softmax; its other queries are a fixed bank of
training captions, and it rescores t2v alone. Another rescoring is one more function and its line in `RESCORINGS`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrieval.metrics.scores import Block, Indices, Scores

DIRECTIONS = ("t2v", "v2t")


class Querybank(NamedTuple):
    """Queries that are known beforehand, none of them a test query.

    Attributes:
        scores: of the bank's captions against the ranked videos.
        captions: the bank's captions, in chunks.
        top: how many videos each of them activates.
    """

    scores: Scores
    captions: Sequence[Indices]
    top: int


class Rescoring(NamedTuple):
    """A rescoring and what it asks for.

    Attributes:
        rescore: from scores, captions and videos in chunks, temperature and, with `bank`, a `Querybank` to `Scores`.
        temperature: as published.
        directions: those that are rescored.
        bank: whether it takes a query bank.
    """

    rescore: Callable[..., Scores]
    temperature: float
    directions: tuple[str, ...] = DIRECTIONS
    bank: bool = False


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


def qb_norm(
    scores: Scores, captions: Sequence[Indices], videos: Sequence[Indices], temperature: float, bank: Querybank
) -> Scores:
    """t2v scores over what the bank's captions score at the same video, for captions whose best video is activated.

    A video is activated where it is among a bank caption's `bank.top` best; of equals all count. Rescored t2v scores
    are the logarithms of the published ones, which rank the videos of a caption alike. v2t scores are left as they are.

    Args:
        scores: plain scores.
        captions: all captions, in chunks.
        videos: all videos, in chunks.
        temperature: factor on the scores in the exponent.
        bank: the query bank.
    """
    over_bank, _ = _log_partitions(bank.scores, bank.captions, videos, temperature)
    active = torch.zeros_like(over_bank, dtype=torch.bool)
    for caption in bank.captions:
        least = _best(bank.scores, caption, videos, bank.top)
        for video in videos:
            active[video] |= (bank.scores(caption, video)[0] >= least).any(0)
    rescored = torch.cat([_leads_to(scores, caption, videos, active) for caption in captions])
    is_rescored = torch.empty_like(rescored).index_copy(0, torch.cat(list(captions)), rescored)

    def rescore(caption: Indices, video: Indices) -> tuple[Block, Block]:
        t2v, v2t = (block.double() for block in scores(caption, video))
        return torch.where(is_rescored[caption, None], temperature * t2v - over_bank[video], t2v), v2t

    return rescore


RESCORINGS = {
    "dual_softmax": Rescoring(dual_softmax, temperature=100.0),
    "qb_norm": Rescoring(qb_norm, temperature=20.0, directions=("t2v",), bank=True),
}


def _best(scores: Scores, caption: Indices, videos: Sequence[Indices], top: int) -> Float[Tensor, "caption 1"]:
    """The `top`-highest t2v score of each caption, its lowest where there are fewer videos."""
    best = scores(caption, videos[0])[0][:, :0]
    for video in videos:
        best = torch.cat([best, scores(caption, video)[0]], dim=1)
        best = best.topk(min(top, best.shape[1]), dim=1).values
    return best[:, -1:]


def _leads_to(
    scores: Scores, caption: Indices, videos: Sequence[Indices], active: Bool[Tensor, " video"]
) -> Bool[Tensor, " caption"]:
    """Whether a caption's best video, or one of its best, is among the active ones."""
    best = _best(scores, caption, videos, 1)
    found = [((scores(caption, video)[0] >= best) & active[video]).any(1) for video in videos]
    return torch.stack(found).any(0)


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
