"""Examples of a retrieval: captions from well found to badly found, each with the videos that came first."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.metrics.ranks import caption_chunks, retrieval_ranks
from retrieval.metrics.recall import CHUNK
from retrieval.metrics.retrieval import Items


@dataclass(frozen=True)
class Example:
    """A caption and what was found for it; captions and videos by their numbers in the dataset.

    Attributes:
        caption: the query.
        video: the right answer.
        rank: the right answer's, from 1; ties count against it.
        found: the videos that came first, best first, with their similarities.
    """

    caption: int
    video: int
    rank: int
    found: list[tuple[int, float]]


def retrieval_examples(items: Items, queries: int, top: int) -> list[Example]:
    """Captions spread evenly over all captions as ordered by the rank of their video, from the best to the worst.

    Args:
        items: what was ranked.
        queries: how many captions, fewer where there are fewer.
        top: how many videos for each.
    """
    scores = items.scores
    places = torch.arange(len(items.videos), device=items.videos.device)
    captions = caption_chunks(items.video_of_caption, CHUNK)
    ranks, _ = retrieval_ranks(scores, items.video_of_caption, captions, list(places.split(CHUNK)))
    chosen = ranks.argsort(stable=True)[spread(len(ranks), queries).to(ranks.device)]
    right = items.video_of_caption[chosen]
    similarities = torch.cat([scores(chosen, part)[0] for part in places.split(CHUNK)], dim=1)
    values, found = best_videos(similarities, right, top)
    found = items.video_index[found]
    columns = (items.caption_index[chosen], items.video_index[right], ranks[chosen], found, values)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        Example(caption, video, rank, list(zip(names, cosines, strict=True)))
        for caption, video, rank, names, cosines in rows
    ]


def spread(total: int, count: int) -> Int[Tensor, " place"]:
    """`count` places from the first to the last of `total`, evenly, each once."""
    return torch.linspace(0, total - 1, min(count, total)).round().long()


def best_videos(
    scores: Float[Tensor, "query video"], right: Int[Tensor, " query"], top: int
) -> tuple[Float[Tensor, "query top"], Int[Tensor, "query top"]]:
    """The highest scores and their videos; among equals the right one comes last, as in its rank."""
    late = scores.clone()
    late[torch.arange(len(right), device=right.device), right] = scores.gather(1, right[:, None])[:, 0].nextafter(
        scores.new_tensor(-torch.inf)
    )
    found = late.argsort(dim=1, descending=True, stable=True)[:, :top]
    return scores.gather(1, found), found
