"""k-medoids++ of CenterCLIP (SIGIR 2022, algorithm 1), for a batch of point sets at once.

Alternates "assign each point to its nearest medoid" and "take in each cluster the point of least summed distance".
Memory is O(batch x points^2); the only loops are over rounds and, in the seeding, over seeds. On CUDA, `look` is the
only place that waits for the device.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from retrieval.reducers.clustering.distances import check_finite, pairwise_distances
from retrieval.reducers.clustering.seeding import check_clusters, kkz_seeds

# On CUDA a look waits for the device; a round after the last move changes nothing.
_ROUNDS_PER_LOOK_ON_CUDA = 8


class Clusters(NamedTuple):
    """A partition of each point set; cluster i is the one of the i-th medoid, and medoids ascend."""

    medoids: Int[Tensor, "batch cluster"]
    assignment: Int[Tensor, "batch point"]


@torch.no_grad()
def k_medoids(
    points: Float[Tensor, "batch point dim"],
    num_clusters: int,
    distance: str = "euclidean",
    p: float = 2.0,
    max_iterations: int = 100,
) -> Clusters:
    """Cluster each point set around `num_clusters` of its points.

    Deterministic: ties go to the lowest index. Every medoid is a member of its own cluster, so none is empty.

    Args:
        points: any floating type; computed in float32, sums in float64.
        num_clusters: clusters of each set.
        distance: see `pairwise_distances`.
        p: see `pairwise_distances`.
        max_iterations: rounds after which the medoids are taken as they are.

    Raises:
        UserError: more clusters than points, points that are not finite, an unknown distance.
    """
    check_clusters(points, num_clusters)
    near = pairwise_distances(points, distance, p)
    finite, distances = near.amax().isfinite(), near.double()
    masked = torch.empty_like(distances)
    medoids = kkz_seeds(points, distances, num_clusters).sort(1).values
    rounds_per_look = _ROUNDS_PER_LOOK_ON_CUDA if points.is_cuda else 1
    for iteration in range(1, max_iterations + 1):
        moved = update_medoids(distances, assign(distances, medoids), num_clusters, masked)
        if iteration % rounds_per_look == 0:
            is_finite, is_at_rest = look(finite, (moved == medoids).all())
            check_finite(is_finite, points)
            if is_at_rest:
                break
        medoids = moved
    else:
        [is_finite] = look(finite)
        check_finite(is_finite, points)
    return Clusters(medoids, assign(distances, medoids))


def look(*answers: Bool[Tensor, ""]) -> list[bool]:
    """Bring answers to the host, all of them at once."""
    return torch.stack(answers).tolist()


def assign(
    distances: Float[Tensor, "batch point point"], medoids: Int[Tensor, "batch cluster"]
) -> Int[Tensor, "batch point"]:
    """The cluster of each point's nearest medoid; a medoid stays in its own, even beside an equal one."""
    batch = torch.arange(len(medoids), device=medoids.device).unsqueeze(1)
    own = torch.arange(medoids.shape[1], device=medoids.device).expand_as(medoids)
    return distances[batch, medoids].min(1).indices.scatter(1, medoids, own)


def update_medoids(
    distances: Float64[Tensor, "batch point point"],
    assignment: Int[Tensor, "batch point"],
    num_clusters: int,
    masked: Float64[Tensor, "batch point point"],
) -> Int[Tensor, "batch {num_clusters}"]:
    """In each cluster the point with the least summed distance to the cluster's points, ascending.

    Summed in float64, where sums of float32 numbers are exact in any order: equal costs stay equal.

    Args:
        distances: float32 numbers in float64.
        assignment: the cluster of each point.
        num_clusters: how many there are, none of them empty.
        masked: written over; fresh memory of this size would take longer to get than the sum does.
    """
    same_cluster = assignment.unsqueeze(1) == assignment.unsqueeze(2)
    costs = torch.where(same_cluster, distances, distances.new_zeros(()), out=masked).sum(-1)
    least = costs.new_full((len(costs), num_clusters), torch.inf).scatter_reduce(1, assignment, costs, "amin")
    index = torch.arange(costs.shape[1], device=costs.device).expand_as(assignment)
    candidates = index.where(costs == least.gather(1, assignment), costs.shape[1])
    first = candidates.new_full(least.shape, costs.shape[1]).scatter_reduce(1, assignment, candidates, "amin")
    return first.sort(1).values
