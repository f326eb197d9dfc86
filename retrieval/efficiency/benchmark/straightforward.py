"""The published procedures of clustering, written down as they stand: what ours is measured against.

k-medoids of CenterCLIP (SIGIR 2022) with one masked copy of the distance matrix per cluster, segments in chunks that
this allows, and a full singular value decomposition for spectral clustering. Only ties differ: distances are made
symmetric and zero on the diagonal, so that they go to the lowest index here too.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.reducers import KMedoids
from retrieval.reducers.clustering import Clusters


class StraightforwardKMedoids(KMedoids):
    """The reducer with the published procedure."""

    def choose(self, patches: Float[Tensor, "segment frame patch dim"], num_clusters: int) -> Clusters:
        points = patches.flatten(1, 2)
        medoids = k_medoids(points, num_clusters)
        chosen = points.gather(1, medoids.unsqueeze(2).expand(-1, -1, points.shape[2]))
        return Clusters(medoids, torch.cdist(points, chosen).argmin(2))


def k_medoids(points: Float[Tensor, "batch point dim"], num_clusters: int) -> Int[Tensor, "batch cluster"]:
    """Medoids by k-medoids++, chunk by chunk."""
    return torch.cat([_k_medoids(chunk, num_clusters) for chunk in points.split(_chunk(points))])


def spectral(points: Float[Tensor, "batch point dim"], num_clusters: int) -> Int[Tensor, "batch cluster"]:
    """Medoids by spectral clustering with the heat kernel of sigma 2, chunk by chunk."""
    return torch.cat([_spectral(chunk, num_clusters) for chunk in points.split(_chunk(points))])


def _chunk(points: Float[Tensor, "batch point dim"]) -> int:
    return 4 if points.shape[1] > 200 else 16


def _distances(points: Float[Tensor, "batch point dim"]) -> Float[Tensor, "batch point point"]:
    distances = torch.cdist(points, points)
    distances = torch.maximum(distances, distances.mT)
    distances.diagonal(dim1=1, dim2=2).zero_()
    return distances


def _k_medoids(
    points: Float[Tensor, "batch point dim"], num_clusters: int, max_iterations: int = 100
) -> Int[Tensor, "batch cluster"]:
    distances = _distances(points)
    batch = torch.arange(len(points), device=points.device).unsqueeze(1)
    clusters = torch.arange(num_clusters, device=points.device)[None, :, None]
    medoids = points.norm(dim=-1).argmax(1, keepdim=True)
    for _ in range(num_clusters - 1):
        farthest = distances[batch, medoids].amin(1).argmax(1, keepdim=True)
        medoids = torch.cat([medoids, farthest], dim=1)
    for _ in range(max_iterations):
        members = distances[batch, medoids].argmin(1, keepdim=True) == clusters
        masked = distances.unsqueeze(1) * (members.unsqueeze(2) & members.unsqueeze(3))
        moved = masked.sum(-1).masked_fill(~members, torch.inf).argmin(-1)
        if torch.equal(moved, medoids):
            break
        medoids = moved
    return medoids.sort(1).values


def _spectral(points: Float[Tensor, "batch point dim"], num_clusters: int) -> Int[Tensor, "batch cluster"]:
    affinity = torch.exp(-_distances(points).square() / (2 * 2.0**2))
    scale = affinity.sum(-1).rsqrt()
    laplacian = torch.eye(points.shape[1], device=points.device) - scale.unsqueeze(1) * affinity * scale.unsqueeze(2)
    vectors, _, _ = torch.linalg.svd(laplacian)
    return _k_medoids(F.normalize(vectors[..., -num_clusters:], dim=-1), num_clusters)
