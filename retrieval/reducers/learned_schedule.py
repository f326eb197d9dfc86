"""The differentiable discrete proxy of DiffRate (Chen et al., ICCV 2023, section 3): a schedule learned for a budget.

For every block but the first, and for pruning and merging each, all numbers of patches that may be kept have a learned
probability; the number kept is their expectation, rounded up. In training nothing is cut: tokens that would not be kept
get next to no attention, by a mask whose gradient is that of the probability that a token of this rank is kept.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.errors import UserError
from retrieval.full_precision import without_autocast
from retrieval.reducers.base import Layout, Tokens, TowerShape

SPEED = 10.0
"""Logits per unit of their parameters, so that at the rate of new parameters (1e-3) Adam moves them by 0.01 a step."""
MASKED = 1e-6
"""What remains of a token's size where it is masked: log(size) and its gradient stay finite."""


@dataclass(frozen=True)
class Choice:
    """What a block keeps, of pruning and merging each: how many patches, and how likely each rank is among them."""

    prune_kept: Float[Tensor, ""]
    merge_kept: Float[Tensor, ""]
    prune_chance: Float[Tensor, " rank"]
    merge_chance: Float[Tensor, " rank"]


class LearnedSchedule(nn.Module):
    """The learned probabilities of the numbers of patches that blocks keep; at the start all are alike.

    Args:
        tower: the sizes of the video tower.
    """

    def __init__(self, tower: TowerShape) -> None:
        super().__init__()
        self.tower = tower
        self.logits = nn.ParameterList(nn.Parameter(torch.zeros(tower.patches)) for _ in range(2 * (tower.blocks - 1)))

    @property
    def is_meta(self) -> bool:
        return any(logits.is_meta for logits in self.logits)

    def start(self) -> list[tuple[int, int]]:
        """The schedule before any training."""
        kept = 1 + (self.tower.patches + 2) // 2
        return [(self.tower.patches + 1,) * 2, *[(kept, kept)] * (self.tower.blocks - 1)]

    def schedule(self) -> list[tuple[int, int]]:
        """What each block keeps as of now, class token counted, never more than the blocks before it."""
        kept = (1 + self._kept(self._probabilities()).cummin(dim=0).values.int()).tolist()
        return [(self.tower.patches + 1,) * 2, *zip(kept[::2], kept[1::2], strict=True)]

    def choice(self, block: int) -> Choice:
        """What a block after the first keeps, with gradients to the probabilities."""
        pair = slice(2 * (block - 1), 2 * block)
        probabilities = self._probabilities()[pair]
        chance = probabilities.flip(1).cumsum(dim=1).flip(1)  # rank k is kept where more than k are
        return Choice(*self._kept(probabilities).unbind(), *chance.unbind())

    def share_of_macs(self) -> Float[Tensor, ""]:
        """Multiply-accumulates of the blocks at the present schedule, as a share of those without reduction.

        As in the authors' code, the gradient goes to both numbers of a block, whichever of them decides.
        """
        kept = self._kept(self._probabilities())
        left = kept.detach().cummin(dim=0).values[1::2]
        left = 1 + left + (kept - kept.detach()).unflatten(0, (-1, 2)).sum(dim=1)
        full = left.new_full((1,), 1 + self.tower.patches)
        return macs(torch.cat([full, left]), self.tower) / macs(full.expand(self.tower.blocks), self.tower)

    def check(self, layout: Layout) -> None:
        """Raise UserError for clips of joined frames, or of more patches than there are learned probabilities."""
        if layout.patches > self.tower.patches or layout.class_tokens > 1:
            raise UserError(
                f"reducer.learn=true learns how many of a frame's {self.tower.patches} patches stay, but clips have "
                f"{layout.patches} and {layout.class_tokens} class tokens here: act before clips are joined, or give "
                "prune_kept and merge_kept"
            )

    def _probabilities(self) -> Float[Tensor, "choice candidate"]:
        """Candidate k keeps k + 1 patches."""
        return (SPEED * torch.stack(list(self.logits)).float()).softmax(dim=1)

    def _kept(self, probabilities: Float[Tensor, "choice candidate"]) -> Float[Tensor, " choice"]:
        """Patches kept: the expectation, rounded up, with the gradient of the expectation."""
        candidates = 1 + torch.arange(self.tower.patches, device=probabilities.device)
        expected = (probabilities * candidates).sum(dim=1)
        rounded = (expected.detach() - 1e-3).ceil()  # sums of probabilities are not exact: 25.00001 is 25
        return rounded + (expected - expected.detach())


def prune_and_merge_softly(tokens: Tokens, attention: Float[Tensor, "clip patch"], choice: Choice) -> Tokens:
    """As DiffRate prunes and merges, but with what goes left in place, behind the others, at next to no size."""
    first = tokens.class_tokens
    alive = tokens.size[:, first:, 0] > 0.5
    order = attention.where(alive, -1.0).argsort(dim=1, descending=True, stable=True)
    tokens = tokens.select_patches(order)
    x, size = tokens.x[:, first:], tokens.size[:, first:, 0]
    rank = torch.arange(size.shape[1], device=size.device)
    before = alive.sum(dim=1, keepdim=True)
    between = torch.minimum(before, choice.prune_kept.detach())
    going = (rank >= choice.merge_kept.detach()) & (rank < between)
    with torch.no_grad(), without_autocast(x):
        unit = F.normalize(x.float(), dim=-1)
        cosine = (unit @ unit.mT).masked_fill(rank >= choice.merge_kept, -torch.inf)
        similarity, nearest = cosine.max(dim=-1)
        added = size * similarity.clamp(min=0) * going
    index = nearest.unsqueeze(2).expand_as(x)
    merged = x.scatter_add(1, index, x * going.unsqueeze(2))
    count = torch.ones_like(size).scatter_add(1, nearest, going.to(size.dtype))
    size = size.scatter_add(1, nearest, added)
    size = size * _mask(rank, choice.prune_kept, before, choice.prune_chance)
    size = size * _mask(rank, choice.merge_kept, between, choice.merge_chance)
    places = nearest.where(going, rank.where(rank < between, -1 - first)) + first
    fixed = torch.arange(first, device=places.device).expand(len(places), -1)
    return Tokens(
        torch.cat([tokens.x[:, :first], (merged / count.unsqueeze(2)).to(x.dtype)], dim=1),
        torch.cat([tokens.size[:, :first], size.unsqueeze(2)], dim=1),
        tokens.clips,
        first,
        tokens.moved(torch.cat([fixed, places], dim=1), tokens.layout.tokens),
    )


def _mask(
    rank: Int[Tensor, " rank"], kept: Float[Tensor, ""], before: Real[Tensor, "clip 1"], chance: Float[Tensor, " all"]
) -> Float[Tensor, "clip rank"]:
    """Next to 0 for the tokens that go now, 1 for all others; its gradient is that of the chance to be kept."""
    chance = chance[: len(rank)]
    kept = kept.detach()
    hard = torch.where((rank >= kept) & (rank < before), MASKED, 1.0)
    return hard + (chance - chance.detach()) * (kept < before)


def macs(left: Any, tower: TowerShape) -> Any:
    """Multiply-accumulates of a tower's blocks for one frame, given the tokens that each block leaves to its MLP."""
    before = [1 + tower.patches, *left[:-1]]
    attention = sum(4 * tokens * tower.width**2 + 2 * tokens**2 * tower.width for tokens in before)
    return attention + 2 * tower.mlp_ratio * tower.width**2 * sum(left)


def even_schedule(tower: TowerShape, budget: float) -> list[tuple[int, int]]:
    """The richest schedule within the budget in which every block keeps the same share of its patches.

    Half of what goes is dropped and half merges.

    Raises:
        UserError: a budget that a single patch from the first block on exceeds.
    """
    full = macs([1 + tower.patches] * tower.blocks, tower)
    low, high = 0.0, 1.0
    for _ in range(30):
        share = (low + high) / 2
        fits = macs([merged for _, merged in _kept_at(share, tower)], tower) <= budget * full
        low, high = (share, high) if fits else (low, share)
    if low == 0:
        raise UserError(
            f"reducer.budget={budget}: below what a single patch a frame costs from the first block's MLP on"
        )
    return _kept_at(low, tower)


def _kept_at(share: float, tower: TowerShape) -> list[tuple[int, int]]:
    """What each block keeps, class token counted, where every block keeps this share of its patches."""

    def kept(power: float) -> int:
        return 1 + max(1, round(tower.patches * share**power))

    return [(kept(block + 0.5), kept(block + 1.0)) for block in range(tower.blocks)]
