"""Bipartite soft matching and weighted merging: ToMe (Bolya et al., ICLR 2023, section 3), as TempMe uses it.

Pure functions on a batch of token sequences, class tokens first. Class tokens are never matched or merged.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from retrieval.full_precision import without_autocast


@dataclass(frozen=True)
class Matching:
    """Which tokens merge into which: the patches alternate between set A, which shrinks, and set B, which receives.

    Attributes:
        class_tokens: leading tokens that stand outside the matching.
        patches: patch tokens that were matched.
        kept: positions in A of the tokens that stay, ascending.
        merged: positions in A of the tokens that merge, most similar first.
        target: for each merged token the position in B of the token that it merges into.
    """

    class_tokens: int
    patches: int
    kept: Int[Tensor, "batch kept"]
    merged: Int[Tensor, "batch merged"]
    target: Int[Tensor, "batch merged"]


def sets(class_tokens: int) -> tuple[slice, slice]:
    """Sets A and B among the patches: A is every second token of the *whole* sequence, from its first."""
    first = class_tokens % 2
    return slice(first, None, 2), slice(1 - first, None, 2)


@torch.no_grad()
def bipartite_match(
    metric: Float[Tensor, "batch token dim"],
    merges: int,
    class_tokens: int,
    apart: Bool[Tensor, "#batch a b"] | None = None,
) -> Matching:
    """Match each token of A with its most similar token of B (cosine) and keep the `merges` best pairs.

    Args:
        metric: what tokens are compared by.
        merges: pairs to merge, at most half of the patches, rounded down.
        class_tokens: leading tokens of the sequence that are left alone.
        apart: pairs of A and B that are matched only where no others are left.

    Raises:
        ValueError: more merges than there are pairs.
    """
    patches = metric.shape[1] - class_tokens
    if not 0 <= merges <= patches // 2:
        raise ValueError(f"{merges} merges among {patches} patches: at most {patches // 2} pairs can merge")
    in_a, in_b = sets(class_tokens)
    with without_autocast(metric):  # half precision would make ties of most neighbours
        unit = F.normalize(metric[:, class_tokens:].float(), dim=-1)
        cosine = unit[:, in_a] @ unit[:, in_b].transpose(1, 2)
    similarity, nearest = (cosine if apart is None else cosine.masked_fill(apart, -torch.inf)).max(dim=-1)
    order = similarity.argsort(dim=-1, descending=True, stable=True)
    merged = order[:, :merges]
    return Matching(class_tokens, patches, order[:, merges:].sort(dim=-1).values, merged, nearest.gather(1, merged))


def merge(
    matching: Matching,
    x: Float[Tensor, "batch token dim"],
    size: Float[Tensor, "batch token 1"],
    saliency: Float[Tensor, "batch patch"] | None = None,
) -> tuple[Float[Tensor, "batch merged_token dim"], Float[Tensor, "batch merged_token 1"]]:
    """Average the matched tokens weighted by size; sizes add.

    Args:
        matching: which tokens merge.
        x: tokens.
        size: of the tokens.
        saliency: from 0 to 1: the part of what merges that is kept of each patch (vid-TLDR, CVPR 2024); None: all.

    Returns:
        Tokens and sizes, `merges` fewer: class tokens, the tokens left in A in their old order, the tokens of B.
    """
    in_a, in_b = sets(matching.class_tokens)
    mass = torch.cat([x * size, size], dim=-1)  # features and sizes add up alike, so both travel in one tensor
    fixed, patches = mass[:, : matching.class_tokens], mass[:, matching.class_tokens :]
    a, b = patches[:, in_a], patches[:, in_b]

    def take(index: Int[Tensor, "batch chosen"]) -> Float[Tensor, "batch chosen mass"]:
        return a.gather(1, index.unsqueeze(-1).expand(-1, -1, a.shape[-1]))

    merging = take(matching.merged)
    if saliency is not None:
        merging = merging * saliency[:, in_a].gather(1, matching.merged).unsqueeze(-1)
    target = matching.target.unsqueeze(-1).expand(-1, -1, b.shape[-1])
    mass = torch.cat([fixed, take(matching.kept), b.scatter_add(1, target, merging)], dim=1)
    size = mass[..., -1:].detach()  # sums of constants: with a gradient, attention could not take its fused kernel
    return (mass[..., :-1] / size).to(x.dtype), size


def destinations(matching: Matching) -> Int[Tensor, "batch token"]:
    """For each token before the merge, its position after it."""
    in_a, in_b = sets(matching.class_tokens)
    batch, kept = matching.kept.shape
    device = matching.kept.device
    first_b = matching.class_tokens + kept
    where = torch.arange(matching.class_tokens + matching.patches, device=device).repeat(batch, 1)
    patches = where[:, matching.class_tokens :]  # a view: what is written here lands in `where`
    patches[:, in_b] = first_b + torch.arange(patches[:, in_b].shape[1], device=device)
    patches[:, in_a] = (
        torch.empty_like(patches[:, in_a])
        .scatter(1, matching.kept, (matching.class_tokens + torch.arange(kept, device=device)).repeat(batch, 1))
        .scatter(1, matching.merged, first_b + matching.target)
    )
    return where
