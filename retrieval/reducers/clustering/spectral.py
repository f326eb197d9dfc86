"""Spectral clustering after Ng, Jordan and Weiss (2001) as in CenterCLIP (SIGIR 2022, algorithm 2), batched.

The last step is k-medoids++ where they take k-means: its result has a representative point in each cluster.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from retrieval.reducers.clustering.distances import check_finite, pairwise_distances
from retrieval.reducers.clustering.graphs import heat_kernel, nearest_neighbours
from retrieval.reducers.clustering.kmedoids import Clusters, k_medoids, look
from retrieval.reducers.clustering.seeding import check_clusters


@torch.no_grad()
def spectral_clusters(
    points: Float[Tensor, "batch point dim"],
    num_clusters: int,
    sigma: float = 2.0,
    neighbours: int | None = None,
    own_neighbour: bool = True,
    window: Bool[Tensor, "point point"] | None = None,
    distance: str = "euclidean",
    p: float = 2.0,
    max_iterations: int = 100,
) -> Clusters:
    """Cluster each point set by the eigenvectors of its affinity graph.

    Args:
        points: any floating type; computed in float32.
        num_clusters: clusters of each set.
        sigma: width of the heat kernel, in the unit of the distances.
        neighbours: keep only each point's edges to so many nearest ones; None keeps all.
        own_neighbour: count each point among its own nearest ones and keep its affinity of 1 to itself, as for the
            published checkpoints. Without, and where all edges are kept, it has none (Ng, Jordan and Weiss).
        window: keep only the edges that it names; None keeps all.
        distance: see `pairwise_distances`.
        p: see `pairwise_distances`.
        max_iterations: see `k_medoids`.

    Raises:
        UserError: more clusters than points, more neighbours than there are, points that are not finite.
    """
    check_clusters(points, num_clusters)
    distances = pairwise_distances(points, distance, p)
    if points.is_cuda:  # the eigenvectors wait for the device anyway
        [is_finite] = look(distances.amax().isfinite())
        check_finite(is_finite, points)
    affinity = heat_kernel(distances, sigma)
    if neighbours is None:
        affinity.diagonal(dim1=1, dim2=2).zero_()
    else:
        affinity = affinity.where(nearest_neighbours(distances, neighbours, own_neighbour), 0)
    if window is not None:
        affinity = affinity.where(window, 0)
    return k_medoids(spectral_embedding(affinity, num_clusters), num_clusters, max_iterations=max_iterations)


@torch.no_grad()
def spectral_embedding(
    affinity: Float[Tensor, "batch point point"], dimensions: int
) -> Float[Tensor, "batch point {dimensions}"]:
    """The eigenvectors of the symmetric normalised Laplacian with the smallest eigenvalues, rows l2-normalised.

    A point without neighbours is a component of its own (eigenvalue 0).
    """
    degree = affinity.sum(-1)
    scale = degree.rsqrt().where(degree > 0, 0)
    laplacian = torch.diag_embed((degree > 0).to(affinity)) - scale.unsqueeze(1) * affinity * scale.unsqueeze(2)
    vectors = torch.linalg.eigh(laplacian).eigenvectors
    return F.normalize(vectors[..., :dimensions], dim=-1)
