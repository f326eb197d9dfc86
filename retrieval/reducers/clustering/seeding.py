"""Seeds of k-medoids after Katsavounidis, Kuo and Zhang (1994), as CenterCLIP (SIGIR 2022) takes them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.errors import UserError

# Norms this close are a tie: after l2 normalisation all norms are 1 but for rounding.
_NORM_TOLERANCE = 1e-6


@torch.no_grad()
def kkz_seeds(
    points: Float[Tensor, "batch point dim"], distances: Float[Tensor, "batch point point"], num_clusters: int
) -> Int[Tensor, "batch cluster"]:
    """First the point of largest l2 norm, then always the point farthest from its nearest seed.

    Ties go to the lowest index; no point is taken twice, even where all points are equal.

    Raises:
        UserError: fewer than one cluster or more clusters than points.
    """
    check_clusters(points, num_clusters)
    norms = points.float().norm(dim=-1)
    seed = (norms >= norms.amax(1, keepdim=True) * (1 - _NORM_TOLERANCE)).byte().argmax(1, keepdim=True)
    seeds = [seed]
    batch = torch.arange(len(points), device=points.device)
    nearest = distances.new_full(norms.shape, torch.inf)
    for _ in range(num_clusters - 1):
        nearest = torch.minimum(nearest, distances[batch, seed.squeeze(1)]).scatter(
            1, seed, -1.0
        )  # below 0: never the farthest again
        seed = nearest.argmax(1, keepdim=True)
        seeds.append(seed)
    return torch.cat(seeds, dim=1)


def check_clusters(points: Float[Tensor, "batch point dim"], num_clusters: int) -> None:
    """Check that the points can fill the clusters.

    Raises:
        UserError: fewer than one cluster or more clusters than points.
    """
    if not 1 <= num_clusters <= points.shape[1]:
        raise UserError(f"{num_clusters} clusters of points {tuple(points.shape)}: 1 to {points.shape[1]} are possible")
