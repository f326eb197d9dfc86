"""EViT: keep the patches that the class token attends to, and fuse the others into one (Liang et al., ICLR 2022)."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.errors import UserError
from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape
from retrieval.reducers.segments import acting_blocks, check_blocks


class EViT(Reducer):
    """After the attention of some blocks keep the patches that the class token attends to most.

    Args:
        blocks: blocks, counted from 0, that drop patches.
        keep_rate: share of a clip's patches that stay, rounded up.
        fuse: put the others into one more patch, their sum weighted by the class token's attention to each; it counts
            as a patch from then on. Without it they are dropped.

    Raises:
        UserError: a share that is none, or blocks out of order; when the tower is built, blocks that it lacks.
    """

    wants_class_attention = True

    def __init__(self, blocks: Sequence[int] = (3, 6, 9), keep_rate: float = 0.7, fuse: bool = True) -> None:
        super().__init__()
        if not 0 < keep_rate <= 1:
            raise UserError(f"reducer.keep_rate={keep_rate}: the share of the patches that stay, above 0, at most 1")
        self.blocks, self.keep_rate, self.fuse = acting_blocks(list(blocks), "blocks"), keep_rate, fuse

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        check_blocks(self.blocks, tower, "blocks")

    def layout_after_attention(self, layout: Layout, block: int) -> Layout:
        kept = self._kept(layout.patches, block)
        return layout if kept == layout.patches else replace(layout, patches=kept + self.fuse)

    def after_attention(  # type: ignore[override]  # a reducer that asks for the class token's attention takes it
        self,
        tokens: Tokens,
        keys: Float[Tensor, "clip token key"],
        block: int,
        class_attention: Float[Tensor, "clip token"],
    ) -> Tokens:
        patches = tokens.layout.patches
        kept = self._kept(patches, block)
        if kept == patches:
            return tokens
        attention = class_attention[:, tokens.class_tokens :]
        best = attention.argsort(dim=1, descending=True, stable=True)[:, :kept].sort(dim=1).values
        if not self.fuse:
            return tokens.select_patches(best)
        return _fused(tokens, best, attention.scatter(1, best, 0))

    def _kept(self, patches: int, block: int) -> int:
        return ceil(self.keep_rate * patches) if block in self.blocks else patches


def _fused(tokens: Tokens, best: Int[Tensor, "clip kept"], weight: Float[Tensor, "clip patch"]) -> Tokens:
    """The best patches, and behind them the sum of all weighted by `weight`, which is 0 for the best."""
    first = tokens.class_tokens
    left = tokens.select_patches(best)
    others = torch.ones_like(weight).scatter(1, best, 0).unsqueeze(2)
    fused = (tokens.x[:, first:] * weight.unsqueeze(2)).sum(dim=1, keepdim=True).to(tokens.x.dtype)
    size = (tokens.size[:, first:] * others).sum(dim=1, keepdim=True)
    count = left.layout.tokens
    places = torch.arange(count, device=best.device)
    destination = torch.full(tokens.x.shape[:2], count, device=best.device)
    destination[:, :first] = places[:first]
    destination = destination.scatter(1, best + first, places[first:].expand_as(best))
    return Tokens(
        torch.cat([left.x, fused], dim=1),
        torch.cat([left.size, size], dim=1),
        tokens.clips,
        first,
        tokens.moved(destination, count + 1),
    )
