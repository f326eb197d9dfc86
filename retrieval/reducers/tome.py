"""ToMe: merge the most similar patches of each frame in every block (Bolya et al., ICLR 2023)."""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from retrieval.errors import UserError
from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape, plan
from retrieval.reducers.matching import bipartite_match, destinations, merge


def merge_patches(tokens: Tokens, metric: Float[Tensor, "clip token key"], merges: int) -> Tokens:
    """Merge `merges` pairs of patches in every clip, matched on `metric`."""
    if merges == 0:
        return tokens
    matching = bipartite_match(metric, merges, tokens.class_tokens)
    x, size = merge(matching, tokens.x, tokens.size)
    source = None if tokens.source is None else tokens.moved(destinations(matching), x.shape[1])
    return Tokens(x, size, tokens.clips, tokens.class_tokens, source)


def without_patches(layout: Layout, merges: int, block: int, knob: str) -> Layout:
    """The layout after `merges` merges in every clip.

    Raises:
        UserError: the clips have too few patches for that many pairs.
    """
    if merges > layout.patches // 2:
        raise UserError(
            f"{knob}={merges} merges in block {block}, but {layout.patches} patches are left there and at most "
            f"{layout.patches // 2} pairs can merge: lower {knob}"
        )
    return replace(layout, patches=layout.patches - merges)


class ToMe(Reducer):
    """Merge `image_merge` pairs of patches per frame in every block, matched on the attention's keys.

    Args:
        image_merge: token pairs merged in each frame by each block (the paper's r).
        proportional_attention: add log(size) to the attention logits (eq. 1).

    Raises:
        UserError: a negative number of merges; when the tower is built, more merges than it has tokens.
    """

    def __init__(self, image_merge: int = 1, proportional_attention: bool = True) -> None:
        super().__init__()
        if image_merge < 0:
            raise UserError(f"reducer.image_merge={image_merge}: the number of merges cannot be negative")
        self.image_merge = image_merge
        self.proportional_attention = proportional_attention

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        plan(self, tower, frames=1)

    def layout_after_attention(self, layout: Layout, block: int) -> Layout:
        return without_patches(layout, self.image_merge, block, "reducer.image_merge")

    def after_attention(self, tokens: Tokens, keys: Float[Tensor, "clip token key"], block: int) -> Tokens:
        return merge_patches(tokens, keys, self.image_merge)
