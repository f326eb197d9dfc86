"""Spectral clustering on planted partitions and against scikit-learn's; the graphs' definitions."""

import numpy as np
import pytest
import torch
from sklearn.cluster import SpectralClustering
from sklearn.datasets import make_blobs, make_circles
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from retrieval.reducers.clustering import (
    heat_kernel,
    nearest_neighbours,
    pairwise_distances,
    spatio_temporal_window,
    spectral_clusters,
    spectral_embedding,
)


def agreement(planted: np.ndarray, points: np.ndarray, **settings) -> float:
    clusters = spectral_clusters(torch.from_numpy(points).float()[None], int(planted.max()) + 1, **settings)
    return adjusted_rand_score(planted, clusters.assignment[0].numpy())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("neighbours", [None, 10])
def test_separated_blobs_are_found(seed, neighbours):
    points, planted = make_blobs(150, 4, centers=5, cluster_std=0.4, center_box=(-6, 6), random_state=seed)
    assert agreement(planted, points, sigma=1.0, neighbours=neighbours) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_two_rings_are_found_with_the_neighbour_graph(seed):
    points, planted = make_circles(160, factor=0.4, noise=0.03, random_state=seed)
    assert agreement(planted, points, neighbours=6) == 1.0


@pytest.mark.filterwarnings("ignore:Graph is not fully connected")
@pytest.mark.parametrize("neighbours", [None, 10])
def test_noisy_blobs_are_found_at_least_as_well_as_by_scikit_learn(neighbours):
    ours, theirs = [], []
    for std, seed in [(std, seed) for std in (1.0, 1.5, 2.0, 2.5) for seed in range(4)]:
        points, planted = make_blobs(150, 8, centers=5, cluster_std=std, center_box=(-4.0, 4.0), random_state=seed)
        distances = pairwise_distances(torch.from_numpy(points)[None])
        affinity = heat_kernel(distances, 2.0)
        if neighbours is not None:
            affinity = affinity * nearest_neighbours(distances, neighbours, own_neighbour=False)
        sklearn = SpectralClustering(5, affinity="precomputed", random_state=0).fit(affinity[0].double().numpy())
        ours.append(agreement(planted, points, neighbours=neighbours, own_neighbour=False))
        theirs.append(adjusted_rand_score(planted, sklearn.labels_))
    assert np.mean(ours) >= np.mean(theirs)


def components(sizes: list[int]) -> Tensor:
    return torch.block_diag(*(torch.ones(size, size) - torch.eye(size) for size in sizes))[None]


def test_rows_of_the_embedding_are_equal_inside_components_and_orthogonal_between():
    rows = spectral_embedding(components([4, 3, 1, 5]), 4)[0]
    label = torch.repeat_interleave(torch.arange(4), torch.tensor([4, 3, 1, 5]))
    torch.testing.assert_close(rows @ rows.T, (label[:, None] == label).float(), atol=1e-5, rtol=0)


def test_the_heat_kernel_is_1_at_distance_0():
    affinity = heat_kernel(torch.tensor([[[0.0, 2.0], [2.0, 0.0]]]), sigma=2.0)
    torch.testing.assert_close(affinity, torch.tensor([[[1.0, 0.6065307], [0.6065307, 1.0]]]))


def test_an_edge_is_kept_where_either_end_keeps_it():
    distances = pairwise_distances(torch.tensor([[[0.0], [1.0], [3.0]]]))
    assert nearest_neighbours(distances, 2)[0].int().tolist() == [[1, 1, 0], [1, 1, 1], [0, 1, 1]]
    assert nearest_neighbours(distances, 1, own_neighbour=False)[0].int().tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("neighbours", [1, 3, 7, 20])
def test_the_graph_of_neighbours_is_that_of_the_published_code(neighbours):
    """Its rule: affinities at least as large as the k-th largest of either end, that of a point to itself included."""
    distances = pairwise_distances(torch.randn(3, 20, 6))
    affinity = heat_kernel(distances, 2.0)
    kth = affinity.topk(neighbours, dim=-1).values[:, :, -1:]
    published = affinity * torch.logical_or(affinity >= kth, (affinity >= kth).mT)
    torch.testing.assert_close(affinity.where(nearest_neighbours(distances, neighbours), 0), published)
    assert (published.diagonal(dim1=1, dim2=2) == 1).all()


def test_tied_neighbours_are_all_kept():
    assert nearest_neighbours(torch.ones(1, 4, 4) - torch.eye(4), 2).all()
    assert torch.equal(nearest_neighbours(torch.ones(1, 4, 4) - torch.eye(4), 1)[0], torch.eye(4, dtype=torch.bool))


def test_the_window_is_a_box_around_each_patch():
    window = spatio_temporal_window(frames=2, height=3, width=4, window=(1, 3, 3)).unflatten(0, (2, 3, 4))
    seen = window[0, 0, 1].unflatten(0, (2, 3, 4)).int()
    assert seen.tolist() == [[[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]], [[0] * 4] * 3]
    whole = spatio_temporal_window(frames=2, height=3, width=4, window=(3, 5, 7))
    assert whole.all()


def test_sets_are_clustered_each_for_itself():
    points = torch.randn(3, 30, 6)
    together = spectral_clusters(points, 5, neighbours=8)
    for index, each in enumerate(points):
        alone = spectral_clusters(each[None], 5, neighbours=8)
        assert adjusted_rand_score(together.assignment[index], alone.assignment[0]) == 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("points", [torch.ones(2, 6, 3), torch.zeros(2, 6, 3), 1000 * torch.eye(6).repeat(2, 1, 1)])
def test_equal_and_isolated_points_fill_all_clusters(points, dtype):
    medoids, assignment = spectral_clusters(points.to(dtype), 4)
    assert torch.equal(assignment.gather(1, medoids), torch.arange(4).expand(2, -1))


def test_a_single_point_is_its_cluster():
    assert spectral_clusters(torch.randn(2, 1, 3), 1).medoids.tolist() == [[0], [0]]


@pytest.mark.parametrize(
    ("clusters", "neighbours", "message"),
    [
        (7, None, r"7 clusters of points \(1, 6, 3\)"),
        (2, 7, "7 neighbours of 6 points: 1 to 6 are possible"),
        (2, 0, "0 neighbours of 6 points"),
    ],
)
def test_impossible_settings_are_refused(clusters, neighbours, message):
    with pytest.raises(ValueError, match=message):
        spectral_clusters(torch.randn(1, 6, 3), clusters, neighbours=neighbours)
