"""Ranks of the right answer in text-to-video (t2v) and video-to-text (v2t) retrieval, streamed over blocks of scores.

Several captions a video are counted as the field does: t2v ranks the videos for every caption; v2t lets each video's
caption set score by its best caption and ranks the sets. Ties are pessimistic: a rank is 1 + the number of others that
score at least as high as the right answer, so that a constant score comes last.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.metrics.scores import Indices, Scores


def retrieval_ranks(
    scores: Scores,
    video_of_caption: Int[Tensor, " caption"],
    captions: Sequence[Indices],
    videos: Sequence[Indices],
) -> tuple[Int[Tensor, " caption"], Int[Tensor, " captioned_video"]]:
    """Ranks from 1: of each caption's video among the videos, of each captioned video's caption set among the sets.

    Args:
        scores: gives the blocks.
        video_of_caption: the right answers.
        captions: all captions in chunks, from `caption_chunks`.
        videos: all videos in chunks.

    Returns:
        The t2v ranks in the order of the captions, the v2t ranks of the videos that have captions in the order of the
        videos.
    """
    t2v_target, v2t_target = _targets(scores, video_of_caption, captions, sum(map(len, videos)))
    t2v_rank = torch.ones_like(video_of_caption)
    v2t_rank = torch.ones_like(v2t_target, dtype=torch.long)
    for caption in captions:
        own, group = video_of_caption[caption].unique_consecutive(return_inverse=True)
        for video in videos:
            t2v, v2t = scores(caption, video)
            beats = (t2v >= t2v_target[caption, None]) & (video_of_caption[caption, None] != video)
            t2v_rank[caption] += beats.sum(1)
            beats = (_best_of_groups(v2t, group, len(own)) >= v2t_target[video]) & (own[:, None] != video)
            v2t_rank[video] += beats.sum(0)
    return t2v_rank, v2t_rank[v2t_target.isfinite()]


def caption_chunks(video_of_caption: Int[Tensor, " caption"], size: int) -> list[Int[Tensor, " chunk"]]:
    """Captions sorted by video, in chunks that hold all captions of a video together.

    A chunk has at most `size` captions, or one video's if these are more.
    """
    order = video_of_caption.argsort(stable=True)
    counts = video_of_caption[order].unique_consecutive(return_counts=True)[1].tolist()
    lengths = [0]
    for count in counts:
        if lengths[-1] + count <= size:
            lengths[-1] += count
        else:
            lengths.append(count)
    return [chunk for chunk in order.split(lengths) if len(chunk)]


def _targets(
    scores: Scores, video_of_caption: Int[Tensor, " caption"], captions: Sequence[Indices], videos: int
) -> tuple[Float[Tensor, " caption"], Float[Tensor, " video"]]:
    """Each caption's score with its video, and each video's best with its captions (inf where it has none)."""
    t2v_parts, v2t_parts, owners = [], [], []
    for caption in captions:
        own, group = video_of_caption[caption].unique_consecutive(return_inverse=True)
        t2v, v2t = (block.gather(1, group[:, None]) for block in scores(caption, own))
        t2v_parts.append(t2v[:, 0])
        v2t_parts.append(_best_of_groups(v2t, group, len(own))[:, 0])
        owners.append(own)
    t2v_target, v2t_best = torch.cat(t2v_parts), torch.cat(v2t_parts)
    v2t_target = v2t_best.new_full((videos,), torch.inf)
    v2t_target[torch.cat(owners)] = v2t_best
    return torch.empty_like(t2v_target).index_copy(0, torch.cat(list(captions)), t2v_target), v2t_target


def _best_of_groups(
    block: Float[Tensor, "caption column"], group: Int[Tensor, " caption"], groups: int
) -> Float[Tensor, "group column"]:
    """The highest score of each group of captions."""
    if groups == len(block):
        return block
    best = block.new_full((groups, block.shape[1]), -torch.inf)
    return best.scatter_reduce(0, group[:, None].expand_as(block), block, "amax")
