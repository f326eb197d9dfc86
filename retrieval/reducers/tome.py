"""ToMe: merge the most similar patches of each frame in every block (Bolya et al., ICLR 2023)."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.errors import UserError
from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape
from retrieval.reducers.matching import bipartite_match, destinations, merge
from retrieval.reducers.padding import merge_to, padded_destinations


def pairs(tokens: int, class_tokens: int, merges: int | float) -> int:
    """How many pairs a clip of so many tokens merges: those asked for, but half of its patches at the most.

    A float asks for a share of all tokens of the clip, class tokens counted, as TempMe does.
    """
    asked = int(tokens * merges) if isinstance(merges, float) else merges
    return min(asked, (tokens - class_tokens) // 2)


def pairs_of_each(tokens: Int[Tensor, " clip"], class_tokens: int, merges: int | float) -> Int[Tensor, " clip"]:
    """`pairs` of clips of different lengths."""
    asked = (tokens.double() * merges).long() if isinstance(merges, float) else torch.full_like(tokens, merges)
    return asked.minimum((tokens - class_tokens) // 2)


def merge_patches(
    tokens: Tokens,
    metric: Float[Tensor, "clip token key"],
    merges: int | float,
    saliency: Float[Tensor, "clip patch"] | None = None,
) -> Tokens:
    """Merge `pairs` of patches in every clip, matched on `metric`; of a padded clip, as many as without its padding.

    `saliency` says how much of each patch that merges is kept; clips must not be padded then.
    """
    most = pairs(tokens.layout.tokens, tokens.class_tokens, merges)
    if most == 0:
        return tokens
    if tokens.padded:
        return _merge_padded(tokens, metric, merges, tokens.layout.tokens - most)
    matching = bipartite_match(metric, most, tokens.class_tokens)
    x, size = merge(matching, tokens.x, tokens.size, saliency)
    source = None if tokens.source is None else tokens.moved(destinations(matching), x.shape[1])
    return Tokens(x, size, tokens.clips, tokens.class_tokens, source)


def _merge_padded(tokens: Tokens, metric: Float[Tensor, "clip token key"], merges: int | float, left: int) -> Tokens:
    alive = tokens.size[..., 0] > 0
    allowed = pairs_of_each(alive.sum(1), tokens.class_tokens, merges)
    destination = padded_destinations(metric, alive, allowed, tokens.class_tokens)
    x, size = merge_to(destination, tokens.x, tokens.size, left)
    source = tokens.moved(destination, left)
    return Tokens(x, size, tokens.clips, tokens.class_tokens, source, padded=True)


def after_merging(layout: Layout, merges: int | float) -> Layout:
    """The layout that `merge_patches` leaves."""
    return replace(layout, patches=layout.patches - pairs(layout.tokens, layout.class_tokens, merges))


class ToMe(Reducer):
    """Merge pairs of patches in each frame in every block, matched on the attention's keys.

    Args:
        image_merge: token pairs merged in each frame by each block (the paper's r); or `[r, inflection]`: r on average,
            linearly from r (1 - inflection) in the first block on, so that 1 rises from 0 to 2 r and -1 falls from 2 r
            to 0. A block merges half of its patches at the most.
        proportional_attention: add log(size) to the attention logits (eq. 1).
        saliency: weigh what merges by its saliency, see `foreground`.

    Raises:
        UserError: a negative number of merges, or an inflection beyond -1 and 1.
    """

    def __init__(
        self,
        image_merge: int | Sequence[float | int] = 1,
        proportional_attention: bool = True,
        saliency: bool = False,
    ) -> None:
        super().__init__()
        self.wants_class_attention, self.takes_padding = saliency, not saliency
        self.merges, self.inflection = _schedule(image_merge)
        self.merges_of_block: list[int] = []
        self.proportional_attention = proportional_attention

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        self.merges_of_block = merges_per_block(self.merges, self.inflection, tower.blocks)

    def layout_after_attention(self, layout: Layout, block: int) -> Layout:
        return after_merging(layout, self.merges_of_block[block])

    def after_attention(
        self,
        tokens: Tokens,
        keys: Float[Tensor, "clip token key"],
        block: int,
        class_attention: Float[Tensor, "clip token"] | None = None,
    ) -> Tokens:
        salient = None if class_attention is None else foreground(class_attention[:, tokens.class_tokens :])
        return merge_patches(tokens, keys, self.merges_of_block[block], salient)


def foreground(class_attention: Float[Tensor, "clip patch"]) -> Float[Tensor, "clip patch"]:
    """How much of each patch a merge keeps, from 0 (background) to 1, after vid-TLDR (Choi et al., CVPR 2024, sec. 4).

    Scores below their mean are background and become 0; the others are sharpened to their distance from the mean, 1 at
    the highest. The paper scores a patch by the entropy of its own row of attention, which fused kernels do not give;
    what the class token attends to stands for it here.
    """
    score = class_attention.detach()
    above = (score - score.mean(dim=1, keepdim=True)).clamp(min=0)
    return above / above.amax(dim=1, keepdim=True).clamp(min=torch.finfo(score.dtype).tiny)


def merges_per_block(merges: int, inflection: float, blocks: int) -> list[int]:
    """Pairs to merge in each block, from `merges (1 - inflection)` linearly to what makes `merges` the average."""
    first = int(merges * (1 - inflection))
    last = 2 * merges - first
    return [int(first + (last - first) / max(1, blocks - 1) * block) for block in range(blocks)]


def _schedule(image_merge: int | Sequence[float | int]) -> tuple[int, float]:
    values = [image_merge, 0.0] if isinstance(image_merge, int) else list(image_merge)
    if len(values) != 2 or values[0] != int(values[0]):
        raise UserError(f"reducer.image_merge={image_merge}: a number of merges, or [r, inflection]")
    if values[0] < 0:
        raise UserError(f"reducer.image_merge={image_merge}: the number of merges cannot be negative")
    if not -1 <= values[1] <= 1:
        raise UserError(f"reducer.image_merge={image_merge}: the inflection lies between -1 and 1")
    return int(values[0]), float(values[1])
