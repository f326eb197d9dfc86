"""Frames merged with their neighbours, then patches inside them: TESTA (Ren et al., EMNLP 2023) on CLIP's tower."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from retrieval.errors import UserError
from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape, follow, plan
from retrieval.reducers.matching import Matching, bipartite_match, destinations, merge
from retrieval.reducers.segments import Schedule, check_blocks, per_block
from retrieval.reducers.tome import after_merging, foreground, merge_patches


class FrameMerge(Reducer):
    """Merge the most similar neighbouring frames before the attention of some blocks, then patches inside frames.

    As in the paper, frames alternate between two sets, each of the first is matched with its most similar of the
    second, and the most similar pairs merge patch by patch, weighted by size; then patches merge inside each frame,
    matched on the attention's keys, and log(size) is added to attention logits.

    Adapted: a frame is matched with the one before or the one behind it alone. The paper takes a vote of the patches on
    the keys of its attention over time, which CLIP does not have; here the mean of the patches' cosines, place by
    place, decides. So that places stay comparable, patches merge from the last merging of frames on, and until then no
    reducer of a chain may drop or merge any. The paper has one class token a video, CLIP one a frame: merged frames
    average theirs, weighted by how many each stands for, and heads get as many as frames are left.

    Args:
        frames: frames per video.
        block: block, or ascending blocks, counted from 0, that merge frames before their attention.
        num_frames: frames left per video from each of these blocks on; at least half of those there before.
        image_merge: token pairs merged in each frame by each block from the last of these on, half of its patches at
            the most.
        proportional_attention: add log(size) to the attention logits.
        saliency: weigh what merges inside frames by its saliency, see `retrieval.reducers.tome.foreground`.

    Raises:
        UserError: settings that contradict each other; when the tower is built, those that do not fit it.
    """

    frames: int

    def __init__(
        self,
        frames: int = 12,
        block: Schedule = (3, 6),
        num_frames: Schedule = (9, 6),
        image_merge: int = 2,
        proportional_attention: bool = True,
        saliency: bool = False,
    ) -> None:
        super().__init__()
        self.wants_class_attention = saliency
        if image_merge < 0:
            raise UserError(f"reducer.image_merge={image_merge}: the number of merges cannot be negative")
        self.frames, self.image_merge = frames, image_merge
        self.num_frames = per_block(block, "num_frames", num_frames)
        self.proportional_attention = proportional_attention
        _check_frames(frames, self.num_frames)

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        check_blocks(list(self.num_frames), tower)
        self.patches = tower.patches
        plan(self, tower, self.frames)

    def layout_before_attention(self, layout: Layout, block: int) -> Layout:
        left = self.num_frames.get(block, layout.clips)
        if left != layout.clips and layout.patches != self.patches:
            raise UserError(
                f"frames merge place by place at block {block}, but {layout.patches} of a frame's {self.patches} "
                "patches are left there: let it act before what drops or merges patches"
            )
        return replace(layout, clips=left)

    def layout_after_attention(self, layout: Layout, block: int) -> Layout:
        return after_merging(layout, self._merges_inside(block))

    def before_attention(self, tokens: Tokens, block: int) -> Tokens:
        return merge_frames(tokens, tokens.clips - self.num_frames.get(block, tokens.clips))

    def after_attention(
        self,
        tokens: Tokens,
        keys: Float[Tensor, "clip token key"],
        block: int,
        class_attention: Float[Tensor, "clip token"] | None = None,
    ) -> Tokens:
        salient = None if class_attention is None else foreground(class_attention[:, tokens.class_tokens :])
        return merge_patches(tokens, keys, self._merges_inside(block), salient)

    def _merges_inside(self, block: int) -> int:
        return self.image_merge if block >= max(self.num_frames) else 0


def merge_frames(tokens: Tokens, merges: int) -> Tokens:
    """Merge the `merges` most similar pairs of neighbouring clips of every video, token by token, and keep their order.

    Args:
        tokens: clips whose patches are at the same places of their frames.
        merges: at most half of the clips, rounded down.
    """
    if merges == 0:
        return tokens
    x, size = (value.unflatten(0, (-1, tokens.clips)) for value in (tokens.x, tokens.size))
    places = F.normalize(x[:, :, tokens.class_tokens :], dim=-1).flatten(2)  # their products are sums of cosines
    apart = _not_neighbours(tokens.clips, tokens.x.device)
    matching = bipartite_match(places, merges, class_tokens=0, apart=apart)
    order = _order_in_time(matching)
    of_token = _of_each_token(matching, x.shape[2])
    x, size = merge(of_token, x.transpose(1, 2).flatten(0, 1), size.transpose(1, 2).flatten(0, 1))
    x, size = (_in_time(value, order) for value in (x, size))
    place = order.argsort(1).gather(1, destinations(matching))
    return Tokens(x, size, order.shape[1], tokens.class_tokens, _moved(tokens, place))


def _not_neighbours(clips: int, device: torch.device) -> Bool[Tensor, "1 a b"]:
    """Which pairs of the sets A and B, every second clip each, are not one behind the other."""
    clip = torch.arange(clips, device=device)
    return ((clip[0::2, None] - clip[None, 1::2]).abs() > 1).unsqueeze(0)


def _of_each_token(matching: Matching, tokens: int) -> Matching:
    """The matching of clips, once for every token of a clip."""
    kept, merged, target = (
        each.repeat_interleave(tokens, dim=0) for each in (matching.kept, matching.merged, matching.target)
    )
    return Matching(matching.class_tokens, matching.patches, kept, merged, target)


def _order_in_time(matching: Matching) -> Int[Tensor, "video left"]:
    """Where the clips left stand after the merge (those of A, then B), from the earliest on."""
    in_b = torch.arange(matching.patches // 2, device=matching.kept.device).expand(len(matching.kept), -1)
    return torch.cat([2 * matching.kept, 2 * in_b + 1], dim=1).argsort(1)


def _in_time(value: Float[Tensor, "video_token clip dim"], order: Int[Tensor, "video clip"]) -> Tensor:
    by_clip = value.unflatten(0, (len(order), -1)).transpose(1, 2)
    index = order[:, :, None, None].expand(-1, -1, *by_clip.shape[2:])
    return by_clip.gather(1, index).flatten(0, 1)


def _moved(tokens: Tokens, place: Int[Tensor, "video clip"]) -> Int[Tensor, "video patch"] | None:
    """The sources once every clip has gone to its place."""
    token = torch.arange(tokens.layout.tokens, device=place.device)
    return follow(tokens.source, (place.unsqueeze(2) * tokens.layout.tokens + token).flatten(1))


def _check_frames(frames: int, num_frames: dict[int, int]) -> None:
    before = frames
    for block, left in num_frames.items():
        if not before - before // 2 <= left <= before:
            raise UserError(
                f"reducer.num_frames={left} at block {block}, but {before} frames are there and at most every second "
                f"can merge: between {before - before // 2} and {before}"
            )
        before = left
