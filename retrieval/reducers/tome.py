"""ToMe: merge the most similar patches of each frame in every block (Bolya et al., ICLR 2023)."""

from collections.abc import Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from retrieval.errors import UserError
from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape
from retrieval.reducers.matching import bipartite_match, destinations, merge


def merge_patches(tokens: Tokens, metric: Float[Tensor, "clip token key"], merges: int) -> Tokens:
    """Merge `merges` pairs of patches in every clip, but no more than it has pairs, matched on `metric`."""
    merges = min(merges, tokens.layout.patches // 2)
    if merges == 0:
        return tokens
    matching = bipartite_match(metric, merges, tokens.class_tokens)
    x, size = merge(matching, tokens.x, tokens.size)
    source = None if tokens.source is None else tokens.moved(destinations(matching), x.shape[1])
    return Tokens(x, size, tokens.clips, tokens.class_tokens, source)


def after_merging(layout: Layout, merges: int) -> Layout:
    """The layout that `merge_patches` leaves."""
    return replace(layout, patches=layout.patches - min(merges, layout.patches // 2))


class ToMe(Reducer):
    """Merge pairs of patches in each frame in every block, matched on the attention's keys.

    Args:
        image_merge: token pairs merged in each frame by each block (the paper's r); or `[r, inflection]`: r on average,
            linearly from r (1 - inflection) in the first block on, so that 1 rises from 0 to 2 r and -1 falls from 2 r
            to 0. A block merges half of its patches at the most.
        proportional_attention: add log(size) to the attention logits (eq. 1).

    Raises:
        UserError: a negative number of merges, or an inflection beyond -1 and 1.
    """

    def __init__(self, image_merge: int | Sequence[float | int] = 1, proportional_attention: bool = True) -> None:
        super().__init__()
        self.merges, self.inflection = _schedule(image_merge)
        self.merges_of_block: list[int] = []
        self.proportional_attention = proportional_attention

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        self.merges_of_block = merges_per_block(self.merges, self.inflection, tower.blocks)

    def layout_after_attention(self, layout: Layout, block: int) -> Layout:
        return after_merging(layout, self.merges_of_block[block])

    def after_attention(self, tokens: Tokens, keys: Float[Tensor, "clip token key"], block: int) -> Tokens:
        return merge_patches(tokens, keys, self.merges_of_block[block])


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
