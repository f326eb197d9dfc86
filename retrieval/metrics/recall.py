"""Text-video retrieval metrics: recall at 1, 5 and 10 (percent), sums and means of them, median and mean rank.

Keys: `t2v/r_at_1`, `t2v/r_at_5`, `t2v/r_at_10`, `t2v/r_sum` (the sum of the three, 300 at best: TempMe's R-Sum),
`t2v/geometric_mean` (of the three, 100 at best), `t2v/median_rank`, `t2v/mean_rank`, the same under `v2t/`, and
`both/r_sum`, the sum of all six recalls (600 at best). A rescoring adds all of them once more under its name
(`dual_softmax/t2v/r_at_1`) and leaves the plain ones as they are; `qb_norm`, which rescores t2v alone, adds neither
`v2t/` nor `both/`. How ranks are counted: `ranks.py`.
"""

from math import prod
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from retrieval.errors import UserError
from retrieval.metrics.ranks import caption_chunks, retrieval_ranks
from retrieval.metrics.rescoring import DIRECTIONS, RESCORINGS, Querybank
from retrieval.metrics.scores import Scores

CHUNK = 1024


def summarise_ranks(ranks: Int[Tensor, " query"]) -> dict[str, float]:
    """Recalls in percent, their sum and geometric mean, and median (of the middle two) and mean of ranks from 1 on."""
    recalls = {f"r_at_{k}": 100 * (ranks <= k).double().mean().item() for k in (1, 5, 10)}
    together = {"r_sum": sum(recalls.values()), "geometric_mean": prod(recalls.values()) ** (1 / len(recalls))}
    middle = ranks.sort().values[[(len(ranks) - 1) // 2, len(ranks) // 2]]
    averages = {"median_rank": middle.double().mean().item(), "mean_rank": ranks.double().mean().item()}
    return recalls | together | averages


@torch.no_grad()
def retrieval_metrics(
    scores: Scores,
    videos: int,
    video_of_caption: Int[Tensor, " caption"],
    rescoring: str | None = None,
    temperature: float | None = None,
    chunk: int = CHUNK,
    bank: Querybank | None = None,
) -> dict[str, float]:
    """Metrics of captions ranked against videos, without ever holding more than a block of their scores.

    Args:
        scores: `feature_scores(captions, videos)` of features, or `matrix_scores(similarity)` of a given matrix.
        videos: how many videos there are.
        video_of_caption: each caption's video, from 0 to `videos` - 1.
        rescoring: None, or "dual_softmax" or "qb_norm" for its metrics beside the plain ones.
        temperature: the rescoring's factor on the scores, made for cosines; None: as published.
        chunk: captions and videos per block; memory grows with its square, results do not depend on it.
        bank: the captions that "qb_norm" normalises by.

    Raises:
        UserError: nothing to rank, a video out of range, a bad knob, no bank where one is needed.

    Example:
        >>> from retrieval.metrics import matrix_scores
        >>> retrieval_metrics(matrix_scores(torch.eye(3)), 3, torch.arange(3))["t2v/r_at_1"]
        100.0
    """
    check_knobs(rescoring, temperature, chunk)
    if rescoring is not None and RESCORINGS[rescoring].bank and not (bank and bank.captions):
        raise UserError(f"rescoring={rescoring!r} normalises by a bank of training captions, but none were given")
    if videos == 0 or len(video_of_caption) == 0:
        raise UserError(f"nothing to rank: {videos} videos and {len(video_of_caption)} captions; both must be above 0")
    if video_of_caption.min() < 0 or video_of_caption.max() >= videos:
        least, most = video_of_caption.min().item(), video_of_caption.max().item()
        raise UserError(f"video_of_caption runs from {least} to {most}, but must lie in 0 to {videos - 1}")
    caption_parts = caption_chunks(video_of_caption, chunk)
    video_parts = list(torch.arange(videos, device=video_of_caption.device).split(chunk))
    metrics = _metrics("", scores, DIRECTIONS, video_of_caption, caption_parts, video_parts)
    if rescoring is not None:
        method = RESCORINGS[rescoring]
        arguments = (temperature or method.temperature, *([bank] if method.bank else []))
        rescored = method.rescore(scores, caption_parts, video_parts, *arguments)
        metrics |= _metrics(f"{rescoring}/", rescored, method.directions, video_of_caption, caption_parts, video_parts)
    return metrics


def _metrics(prefix: str, scores: Scores, directions: tuple[str, ...], *ranked: Any) -> dict[str, float]:
    """The metrics of `directions`, and `both/r_sum` where these are both; `ranked` goes to `retrieval_ranks`."""
    ranks = dict(zip(DIRECTIONS, retrieval_ranks(scores, *ranked), strict=True))
    values = {way: summarise_ranks(ranks[way]) for way in directions}
    metrics = {f"{prefix}{way}/{name}": value for way in values for name, value in values[way].items()}
    if directions == DIRECTIONS:
        metrics[f"{prefix}both/r_sum"] = sum(value["r_sum"] for value in values.values())
    return metrics


def check_knobs(rescoring: str | None, temperature: float | None, chunk: int) -> None:
    """Raise a UserError for settings of `retrieval_metrics` that cannot be."""
    if rescoring is not None and rescoring not in RESCORINGS:
        raise UserError(f"rescoring={rescoring!r} is unknown: choose null or one of {sorted(RESCORINGS)}")
    if temperature is not None and not 0 < temperature < float("inf"):
        raise UserError(f"temperature={temperature} must be a finite number above 0, or null for the published one")
    if chunk < 1:
        raise UserError(f"chunk={chunk} must be at least 1")
