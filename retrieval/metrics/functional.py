"""Text-video retrieval metrics: recall at 1, 5 and 10 (percent), R-Sum, median and mean rank, in both directions.

Keys: `t2v/r_at_1`, `t2v/r_at_5`, `t2v/r_at_10`, `t2v/r_sum` (the sum of the three), `t2v/median_rank`, `t2v/mean_rank`,
the same under `v2t/`, and `r_sum`, the sum of all six recalls (600 at best). A rescoring adds all of them once more
under its name (`dual_softmax/t2v/r_at_1`) and leaves the plain ones as they are. How ranks are counted: `ranks.py`.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from retrieval.metrics.ranks import caption_chunks, retrieval_ranks
from retrieval.metrics.rescoring import RESCORINGS
from retrieval.metrics.scores import Scores

TEMPERATURE = 100.0
CHUNK = 2048


def summarise_ranks(ranks: Int[Tensor, " query"]) -> dict[str, float]:
    """Recalls in percent, their sum, and the median (mean of the middle two) and mean of ranks that count from 1."""
    recalls = {f"r_at_{k}": 100 * (ranks <= k).double().mean().item() for k in (1, 5, 10)}
    middle = ranks.sort().values[[(len(ranks) - 1) // 2, len(ranks) // 2]]
    averages = {"median_rank": middle.double().mean().item(), "mean_rank": ranks.double().mean().item()}
    return recalls | {"r_sum": sum(recalls.values())} | averages


@torch.no_grad()
def retrieval_metrics(
    scores: Scores,
    videos: int,
    video_of_caption: Int[Tensor, " caption"],
    rescoring: str | None = None,
    temperature: float = TEMPERATURE,
    chunk: int = CHUNK,
) -> dict[str, float]:
    """Metrics of captions ranked against videos, without ever holding more than a block of their scores.

    Args:
        scores: `cosine_scores(captions, videos)` of features, or `matrix_scores(similarity)` of a given matrix.
        videos: how many videos there are.
        video_of_caption: each caption's video, from 0 to `videos` - 1.
        rescoring: None, or "dual_softmax" for its metrics beside the plain ones.
        temperature: the rescoring's factor on the scores, made for cosines.
        chunk: captions and videos per block; memory grows with its square, results do not depend on it.

    Raises:
        ValueError: nothing to rank, a video out of range, a bad knob.

    Example:
        >>> from retrieval.metrics import matrix_scores
        >>> retrieval_metrics(matrix_scores(torch.eye(3)), 3, torch.arange(3))["t2v/r_at_1"]
        100.0
    """
    check_knobs(rescoring, temperature, chunk)
    if videos == 0 or len(video_of_caption) == 0:
        raise ValueError(f"nothing to rank: {videos} videos and {len(video_of_caption)} captions; both must be above 0")
    if video_of_caption.min() < 0 or video_of_caption.max() >= videos:
        least, most = video_of_caption.min().item(), video_of_caption.max().item()
        raise ValueError(f"video_of_caption runs from {least} to {most}, but must lie in 0 to {videos - 1}")
    caption_parts = caption_chunks(video_of_caption, chunk)
    video_parts = list(torch.arange(videos, device=video_of_caption.device).split(chunk))
    rankings = {"": scores}
    if rescoring is not None:
        rankings[f"{rescoring}/"] = RESCORINGS[rescoring](scores, caption_parts, video_parts, temperature)
    metrics: dict[str, float] = {}
    for prefix, ranking in rankings.items():
        t2v, v2t = map(summarise_ranks, retrieval_ranks(ranking, video_of_caption, caption_parts, video_parts))
        metrics |= {f"{prefix}t2v/{name}": value for name, value in t2v.items()}
        metrics |= {f"{prefix}v2t/{name}": value for name, value in v2t.items()}
        metrics[f"{prefix}r_sum"] = t2v["r_sum"] + v2t["r_sum"]
    return metrics


def check_knobs(rescoring: str | None, temperature: float, chunk: int) -> None:
    """Raise a ValueError for settings of `retrieval_metrics` that cannot be."""
    if rescoring is not None and rescoring not in RESCORINGS:
        raise ValueError(f"rescoring={rescoring!r} is unknown: choose null or one of {sorted(RESCORINGS)}")
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature={temperature} must be a finite number above 0")
    if chunk < 1:
        raise ValueError(f"chunk={chunk} must be at least 1")
