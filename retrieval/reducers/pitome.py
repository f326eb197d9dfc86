"""PiToMe: merge patches that lie in dense groups, and protect those that stand alone (Tran et al., NeurIPS 2024)."""

from dataclasses import replace
from math import floor

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from retrieval.errors import UserError
from retrieval.full_precision import without_autocast
from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape
from retrieval.reducers.matching import bipartite_match, destinations, merge

METRICS = ("keys", "tokens")
WIDEST_MARGIN = 0.95


class PiToMe(Reducer):
    """Merge a share of each clip's patches in every block, those of the highest energy.

    A patch's energy tells how many others resemble it (`energy`). Of P patches r = floor(P - P ratio) merge: the 2 r
    of the highest energy alternate between sets A and B, and each of A merges into its most similar of B.

    Args:
        ratio: share of a clip's patches that every block leaves; it cannot merge more than half of them.
        metric: what patches are compared by: `keys`, the attention's averaged over heads, or `tokens`, after attention.
        bipartite_blocks: in the first blocks, as many as this says, all patches alternate between A and B in the order
            of their energy, and the r most similar pairs merge.

    Raises:
        UserError: a share below one half or above 1, an unknown metric, or a negative number of blocks.
    """

    def __init__(self, ratio: float = 0.9, metric: str = "keys", bipartite_blocks: int = 0) -> None:
        super().__init__()
        if not 0.5 <= ratio <= 1:
            raise UserError(f"reducer.ratio={ratio}: the share of the patches that a block leaves, from 0.5 to 1")
        if metric not in METRICS:
            raise UserError(f"reducer.metric={metric}: choose {' or '.join(METRICS)}")
        if bipartite_blocks < 0:
            raise UserError(f"reducer.bipartite_blocks={bipartite_blocks}: a number of blocks, from 0 on")
        self.ratio, self.metric, self.bipartite_blocks = ratio, metric, bipartite_blocks
        self.blocks = 0

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        self.blocks = tower.blocks

    def layout_after_attention(self, layout: Layout, block: int) -> Layout:
        return replace(layout, patches=layout.patches - self._merges(layout.patches))

    def after_attention(self, tokens: Tokens, keys: Float[Tensor, "clip token key"], block: int) -> Tokens:
        patches = tokens.layout.patches
        merges = self._merges(patches)
        if merges == 0:
            return tokens
        metric = (keys if self.metric == "keys" else tokens.x)[:, tokens.class_tokens :].detach()
        order = energy(metric, WIDEST_MARGIN * (1 - block / self.blocks)).argsort(dim=1, descending=True, stable=True)
        candidates = patches if block < self.bipartite_blocks else 2 * merges
        protected_first = order.roll(patches - candidates, dims=1)
        metric = metric.gather(1, order[:, :candidates, None].expand(-1, -1, metric.shape[2]))
        return _merge_last(tokens.select_patches(protected_first), metric, merges)

    def _merges(self, patches: int) -> int:
        return floor(patches - patches * self.ratio)


@torch.no_grad()
def energy(metric: Float[Tensor, "clip patch dim"], margin: float) -> Float[Tensor, "clip patch"]:
    """How dense it is around each patch (eq. 4): the mean over all patches of elu(cosine - margin).

    Patches more alike than the margin count in full, others less the further they are away, at most -1.
    """
    with without_autocast(metric):  # half precision would make ties of neighbours
        unit = F.normalize(metric.float(), dim=-1)
        return F.elu(unit @ unit.mT - margin).mean(dim=-1)


def _merge_last(tokens: Tokens, metric: Float[Tensor, "clip candidate key"], merges: int) -> Tokens:
    """Merge pairs among the last tokens of every clip, as many as `metric` has."""
    first = tokens.layout.tokens - metric.shape[1]
    matching = bipartite_match(metric, merges, class_tokens=0)
    x, size = merge(matching, tokens.x[:, first:], tokens.size[:, first:])
    x, size = torch.cat([tokens.x[:, :first], x], dim=1), torch.cat([tokens.size[:, :first], size], dim=1)
    source = tokens.source
    if source is not None:
        fixed = torch.arange(first, device=x.device).expand(len(x), -1)
        source = tokens.moved(torch.cat([fixed, first + destinations(matching)], dim=1), x.shape[1])
    return Tokens(x, size, tokens.clips, tokens.class_tokens, source)
