"""Ranks of the right answer in text-to-video (t2v) and video-to-text (v2t) retrieval, streamed over blocks of scores.

Several captions a video are counted as the field does: t2v ranks the videos for every caption; v2t lets each video's
caption set score by its best caption and ranks the sets. Ties are pessimistic: a rank is the number of candidates that
do not score below the right answer, itself among them, so that a constant score comes last. A NaN is below nothing.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.metrics.cores import a_core_each
from retrieval.metrics.scores import Block, ComparableScores, Indices, Scores


class _Rows(NamedTuple):
    """A chunk of captions, in which those of a video are neighbours.

    Attributes:
        captions: their numbers.
        owners: each one's video.
        videos: these videos, each once, in the order of the captions.
        place: of each caption's video in `videos`.
        runs: how many videos with as many captions each follow one another, and how many captions that is.
    """

    captions: Indices
    owners: Indices
    videos: Indices
    place: Indices
    runs: Sequence[tuple[int, int]]


def retrieval_ranks(
    scores: Scores,
    video_of_caption: Int[Tensor, " caption"],
    captions: Sequence[Indices],
    videos: Sequence[Indices],
) -> tuple[Int[Tensor, " caption"], Int[Tensor, " captioned_video"]]:
    """Ranks from 1: of each caption's video among the videos, of each captioned video's caption set among the sets.

    Both are counted in one pass over the blocks, without waiting for a GPU in between.

    Args:
        scores: gives the blocks.
        video_of_caption: the right answers.
        captions: all captions in chunks, from `caption_chunks`.
        videos: all videos in ascending order, in chunks.

    Returns:
        The t2v ranks in the order of the captions, the v2t ranks of the videos that have captions in the order of the
        videos.
    """
    chunks = [_rows(caption, video_of_caption[caption]) for caption in captions]
    captioned = torch.cat([chunk.videos for chunk in chunks])
    total = sum(map(len, videos))
    t2v_right, v2t_right = _right_answers(scores, chunks, len(video_of_caption), total)
    t2v_rank = torch.full_like(video_of_caption, total)
    v2t_rank = video_of_caption.new_full((total,), len(captioned))
    count = partial(_counts, scores, videos, t2v_right, v2t_right)
    with a_core_each(isinstance(scores, ComparableScores)) as each:
        for chunk, (t2v_below, v2t_below) in zip(chunks, each(count, chunks), strict=True):
            t2v_rank[chunk.captions] -= t2v_below
            v2t_rank -= v2t_below
    return t2v_rank, v2t_rank[captioned.sort().values]


def caption_chunks(video_of_caption: Int[Tensor, " caption"], size: int) -> list[Int[Tensor, " chunk"]]:
    """Captions in chunks that hold all captions of a video together; videos with as many captions are neighbours.

    A chunk has at most `size` captions, or one video's if these are more.
    """
    order = video_of_caption.argsort(stable=True)
    order = order[video_of_caption.bincount()[video_of_caption[order]].argsort(stable=True)]
    lengths = [0]
    for count in video_of_caption[order].unique_consecutive(return_counts=True)[1].tolist():
        if lengths[-1] + count <= size:
            lengths[-1] += count
        else:
            lengths.append(count)
    return [chunk for chunk in order.split(lengths) if len(chunk)]


def _rows(captions: Indices, owners: Indices) -> _Rows:
    videos, place, counts = owners.unique_consecutive(return_inverse=True, return_counts=True)
    each, alike = counts.unique_consecutive(return_counts=True)
    return _Rows(captions, owners, videos, place, list(zip(alike.tolist(), each.tolist(), strict=True)))


def _right_answers(
    scores: Scores, chunks: Sequence[_Rows], captions: int, videos: int
) -> tuple[Float[Tensor, " caption"], Float[Tensor, " video"]]:
    """Each caption's score with its video, and each video's best with its captions (inf where it has none)."""
    t2v_parts, v2t_parts = [], []
    for chunk in chunks:
        t2v, v2t = _own_scores(scores, chunk)
        t2v_parts.append(t2v[:, 0])
        v2t_parts.append(_best_of_each_video(v2t, chunk.runs)[:, 0])
    t2v_right, v2t_right = torch.cat(t2v_parts), torch.cat(v2t_parts)
    return (
        t2v_right.new_zeros(captions).index_copy(0, torch.cat([chunk.captions for chunk in chunks]), t2v_right),
        v2t_right.new_full((videos,), torch.inf).index_copy(
            0, torch.cat([chunk.videos for chunk in chunks]), v2t_right
        ),
    )


def _own_scores(scores: Scores, chunk: _Rows) -> tuple[Float[Tensor, "caption 1"], Float[Tensor, "caption 1"]]:
    """Each caption's scores with its own video, as they count for t2v and for v2t."""
    if isinstance(scores, ComparableScores):
        own = scores.of_pairs(chunk.captions, chunk.owners)[:, None]
        return own, own
    t2v, v2t = scores(chunk.captions, chunk.videos)
    return t2v.gather(1, chunk.place[:, None]), v2t.gather(1, chunk.place[:, None])


def _counts(
    scores: Scores,
    videos: Sequence[Indices],
    t2v_right: Float[Tensor, " caption"],
    v2t_right: Float[Tensor, " video"],
    chunk: _Rows,
) -> tuple[Int[Tensor, " row"], Int[Tensor, " video"]]:
    """What is below each right answer of a chunk: videos for a caption, the chunk's caption sets for a video."""
    right, first = t2v_right[chunk.captions], 0
    t2v_below, v2t_below = torch.zeros_like(chunk.captions), []
    for video in videos:
        blocks = _blocks(scores, chunk.captions, video, right, v2t_right[video])
        t2v, v2t = _without_right_answers(blocks, chunk.owners - first)
        t2v_below += _count_below(t2v, right[:, None], 1)
        v2t_below.append(_count_below(_best_of_each_video(v2t, chunk.runs), v2t_right[None, video], 0))
        first += len(video)
    return t2v_below, torch.cat(v2t_below)


def _blocks(
    scores: Scores,
    captions: Indices,
    videos: Indices,
    t2v_right: Float[Tensor, " caption"],
    v2t_right: Float[Tensor, " video"],
) -> tuple[Block, Block]:
    """Scores, or what compares with the right answers as they do."""
    if isinstance(scores, ComparableScores):
        return scores.compared(captions, videos, t2v_right, v2t_right)
    return scores(captions, videos)


def _without_right_answers(blocks: tuple[Block, Block], column: Int[Tensor, " caption"]) -> tuple[Block, Block]:
    """The blocks with inf, which is below nothing, at each caption's `column`, where that lies in them.

    Right answers are left out by their place and not by their score, which another block's shape may round otherwise.
    """
    width = blocks[0].shape[1]
    place = column.clamp(0, width - 1)[:, None]
    inside = place == column[:, None]
    for block in blocks[: 1 if blocks[0] is blocks[1] else 2]:
        block.scatter_(1, place, block.gather(1, place).masked_fill(inside, torch.inf))
    return blocks


def _best_of_each_video(
    block: Float[Tensor, "caption column"], runs: Sequence[tuple[int, int]]
) -> Float[Tensor, "video column"]:
    """The highest score of each video's captions."""
    parts = block.split([videos * each for videos, each in runs])
    best = [
        part if each == 1 else part.unflatten(0, (videos, each)).amax(1)
        for part, (videos, each) in zip(parts, runs, strict=True)
    ]
    return best[0] if len(best) == 1 else torch.cat(best)


def _count_below(block: Block, right: Float[Tensor, "#row #column"], dim: int) -> Int[Tensor, " _"]:
    """How many scores along `dim` are below; counted in floats, which sum several times faster than truth values."""
    below = torch.empty(block.shape, device=block.device)
    return torch.lt(block, right, out=below).sum(dim, dtype=torch.float32).long()
