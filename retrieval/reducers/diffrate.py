"""DiffRate: prune what the class token looks at least, then merge, by a schedule (Chen et al., ICCV 2023).

The schedule is given, derived from a budget, or learned for a budget (`learned_schedule.py`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.errors import UserError
from retrieval.full_precision import without_autocast
from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape
from retrieval.reducers.learned_schedule import LearnedSchedule, even_schedule, prune_and_merge_softly


class DiffRate(Reducer):
    """After every attention sort the patches by the class token's attention, keep the first, merge the last of these.

    Args:
        prune_kept: for each block, how many tokens of a clip pruning keeps, class tokens counted.
        merge_kept: for each block, how many of these stay; each behind them merges into its most similar patch of
            those. Without both lists all blocks keep the same share, half of it dropped and half merged, so that the
            budget is met.
        learn: learn both lists in training, for the budget.
        budget: share of the unreduced multiply-accumulates of the tower's blocks to keep, where no lists are given.
        strictness: weight of the squared distance from the budget in the training's loss, where lists are learned.

    Raises:
        UserError: settings that contradict each other; when the tower is built, those that do not fit it.
    """

    proportional_attention = True
    wants_class_attention = True

    def __init__(
        self,
        prune_kept: Sequence[int] | None = None,
        merge_kept: Sequence[int] | None = None,
        learn: bool = False,
        budget: float = 0.6,
        strictness: float = 100.0,
    ) -> None:
        super().__init__()
        self.given = _checked(prune_kept, merge_kept)
        if self.given and learn:
            raise UserError("reducer.learn=true finds prune_kept and merge_kept: leave both null")
        if not 0 < budget <= 1:
            raise UserError(f"reducer.budget={budget}: a share of the unreduced GMACs, above 0, at most 1")
        if strictness < 0:
            raise UserError(f"reducer.strictness={strictness}: the weight of a penalty, from 0 on")
        self.learn, self.budget, self.strictness = learn, budget, strictness
        self.masks_in_training = learn
        self.schedule: list[tuple[int, int]] = []
        self.learned: LearnedSchedule | None = None
        self.register_load_state_dict_post_hook(_settle)

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        if self.given and len(self.given) != tower.blocks:
            raise UserError(
                f"reducer.prune_kept and reducer.merge_kept have {len(self.given)} entries, but the video tower has "
                f"{tower.blocks} blocks"
            )
        if self.learn:
            self.learned = LearnedSchedule(tower)
            self.schedule = self.learned.start()
        else:
            self.schedule = self.given or even_schedule(tower, self.budget)

    def train(self, mode: bool = True) -> "DiffRate":
        """As any module; evaluation reduces by the schedule as it has been learned until then."""
        super().train(mode)
        if not mode:
            _settle(self)
        return self

    def layout_after_attention(self, layout: Layout, block: int) -> Layout:
        _, merged = self._kept(layout, block)
        return replace(layout, patches=merged - layout.class_tokens)

    def after_attention(  # type: ignore[override]  # a reducer that asks for the class token's attention takes it
        self,
        tokens: Tokens,
        keys: Float[Tensor, "clip token key"],
        block: int,
        class_attention: Float[Tensor, "clip token"],
    ) -> Tokens:
        attention = class_attention[:, tokens.class_tokens :]
        if self.learned is not None and self.training:
            self.learned.check(tokens.layout)
            return prune_and_merge_softly(tokens, attention, self.learned.choice(block)) if block else tokens
        pruned, merged = self._kept(tokens.layout, block)
        if merged == tokens.layout.tokens:
            return tokens
        order = attention.argsort(dim=1, descending=True, stable=True)[:, : pruned - tokens.class_tokens]
        return merge_into_first(tokens.select_patches(order), merged - tokens.class_tokens)

    def penalty(self) -> Float[Tensor, ""] | float:
        if self.learned is None:
            return 0.0
        return self.strictness * (self.learned.share_of_macs() - self.budget) ** 2

    def found(self) -> dict[str, Any]:
        if self.learned is None:
            return {}
        _settle(self)
        prune_kept, merge_kept = (list(kept) for kept in zip(*self.schedule, strict=True))
        return {"prune_kept": prune_kept, "merge_kept": merge_kept, "learn": False}

    def _kept(self, layout: Layout, block: int) -> tuple[int, int]:
        """How many tokens of a clip pruning and merging leave: at least one patch, at most what is there."""
        if self.learned is not None:
            self.learned.check(layout)
        least = min(layout.tokens, layout.class_tokens + 1)
        pruned, merged = (max(least, kept) for kept in self.schedule[block])
        pruned = min(pruned, layout.tokens)
        return pruned, min(merged, pruned)


def merge_into_first(tokens: Tokens, kept: int) -> Tokens:
    """Merge every patch behind the first `kept` into its most similar of these (cosine of the tokens).

    A patch becomes the plain mean of itself and of what merged into it; what merges counts its size times that cosine.
    """
    merges = tokens.layout.patches - kept
    if merges == 0:
        return tokens
    left = tokens.class_tokens + kept
    with without_autocast(tokens.x):  # half precision would make ties of neighbours
        unit = F.normalize(tokens.x[:, tokens.class_tokens :].detach().float(), dim=-1)
        cosine, nearest = (unit[:, kept:] @ unit[:, :kept].mT).max(dim=-1)
    target = nearest + tokens.class_tokens
    size = tokens.size[:, left:] * cosine.clamp(min=0).unsqueeze(2).to(tokens.size.dtype)
    count = torch.ones_like(tokens.size[:, :left]).scatter_add(1, target.unsqueeze(2), torch.ones_like(size))
    index = target.unsqueeze(2).expand(-1, -1, tokens.x.shape[2])
    x = tokens.x[:, :left].scatter_add(1, index, tokens.x[:, left:])
    places = torch.arange(left, device=target.device).expand(len(target), -1)
    return Tokens(
        (x / count).to(x.dtype),
        tokens.size[:, :left].scatter_add(1, target.unsqueeze(2), size),
        tokens.clips,
        tokens.class_tokens,
        tokens.moved(torch.cat([places, target], dim=1), left),
    )


@torch.no_grad()
def _settle(reducer: nn.Module, keys: object = None) -> None:
    """Take over what has been learned; called where numbers may be waited for, never in a forward pass."""
    assert isinstance(reducer, DiffRate)
    if reducer.learned is not None and not reducer.learned.is_meta:
        reducer.schedule = reducer.learned.schedule()


def _checked(prune_kept: Sequence[int] | None, merge_kept: Sequence[int] | None) -> list[tuple[int, int]] | None:
    if prune_kept is None and merge_kept is None:
        return None
    if prune_kept is None or merge_kept is None or len(prune_kept) != len(merge_kept):
        raise UserError(
            f"reducer.prune_kept={prune_kept} and reducer.merge_kept={merge_kept}: give both, with one number for each "
            "block, or neither"
        )
    for block, (pruned, merged) in enumerate(zip(prune_kept, merge_kept, strict=True)):
        if not 2 <= merged <= pruned:
            raise UserError(
                f"reducer.prune_kept={pruned} and reducer.merge_kept={merged} in block {block}: a class token and a "
                "patch stay at least, and merging leaves no more than pruning"
            )
    return list(zip(prune_kept, merge_kept, strict=True))
