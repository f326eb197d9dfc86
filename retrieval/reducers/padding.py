"""Merging where clips differ in length: padding, the tokens of size 0, changes nothing and stays behind all others."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval.reducers.matching import bipartite_match, sets


@torch.no_grad()
def padded_destinations(
    metric: Float[Tensor, "batch token dim"],
    alive: Bool[Tensor, "batch token"],
    allowed: Int[Tensor, " batch"],
    class_tokens: int,
) -> Int[Tensor, "batch token"]:
    """For each token its position after the merge of each sequence's most similar pairs; -1 for padding.

    The same pairs merge as in the sequences without their padding, and the others take the order of `matching.merge`;
    a sequence in which nothing merges stays as it is.

    Args:
        metric: what tokens are compared by.
        alive: which tokens are real: in every sequence those before the padding.
        allowed: pairs to merge in each sequence, at most half of its real patches.
        class_tokens: leading tokens of the sequence that are left alone.
    """
    in_a, in_b = sets(class_tokens)
    real = alive[:, class_tokens:]
    apart = ~(real[:, in_a].unsqueeze(2) & real[:, in_b].unsqueeze(1))
    matching = bipartite_match(metric, real.shape[1] // 2, class_tokens, apart)
    merges = torch.arange(matching.merged.shape[1], device=metric.device) < allowed.unsqueeze(1)
    stays_in_a = real[:, in_a].scatter(1, matching.merged, real[:, in_a].gather(1, matching.merged) & ~merges)
    stays = torch.cat([alive[:, :class_tokens], stays_in_a, real[:, in_b]], dim=1)
    place = (stays.cumsum(1) - 1).where(stays, -1)  # in the order after a merge: class tokens, A, B
    class_place, place_in_a, place_in_b = place.split([class_tokens, stays_in_a.shape[1], real[:, in_b].shape[1]], 1)
    target = place_in_b.gather(1, matching.target)
    place_in_a = place_in_a.scatter(1, matching.merged, target.where(merges, place_in_a.gather(1, matching.merged)))
    places = torch.empty_like(place[:, class_tokens:])
    places[:, in_a], places[:, in_b] = place_in_a, place_in_b
    as_before = (alive.cumsum(1) - 1).where(alive, -1)
    return torch.cat([class_place, places], dim=1).where(allowed.unsqueeze(1) > 0, as_before)


def merge_to(
    destination: Int[Tensor, "batch token"],
    x: Float[Tensor, "batch token dim"],
    size: Float[Tensor, "batch token 1"],
    left: int,
) -> tuple[Float[Tensor, "batch {left} dim"], Float[Tensor, "batch {left} 1"]]:
    """Average the tokens of each destination weighted by size; sizes add. What nothing goes to is padding."""
    mass = torch.cat([x * size, size], dim=-1)
    index = destination.clamp(min=0).unsqueeze(2).expand(-1, -1, mass.shape[2])  # padding adds a mass of 0 anywhere
    mass = mass.new_zeros(len(x), left, mass.shape[2]).scatter_add(1, index, mass)
    size = mass[..., -1:].detach()
    return (mass[..., :-1] / size.where(size > 0, 1)).to(x.dtype), size
