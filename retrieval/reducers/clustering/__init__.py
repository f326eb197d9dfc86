"""Clustering of point sets `[batch, point, dim]`: pure functions, batched, exact where exactness is defined."""

from retrieval.reducers.clustering.distances import check_distance, pairwise_distances
from retrieval.reducers.clustering.graphs import heat_kernel, nearest_neighbours, spatio_temporal_window
from retrieval.reducers.clustering.kmedoids import Clusters, k_medoids
from retrieval.reducers.clustering.seeding import kkz_seeds
from retrieval.reducers.clustering.spectral import spectral_clusters, spectral_embedding

__all__ = [
    "Clusters",
    "check_distance",
    "heat_kernel",
    "k_medoids",
    "kkz_seeds",
    "nearest_neighbours",
    "pairwise_distances",
    "spatio_temporal_window",
    "spectral_clusters",
    "spectral_embedding",
]
