"""The spectral reducer's graph, window and limits; the clustering itself is tested in tests/clustering."""

import pytest
import torch

from retrieval.reducers import Spectral, Tokens, TowerShape
from retrieval.reducers.clustering import spatio_temporal_window, spectral_clusters

TOWER = TowerShape(blocks=12, width=16, patches=9)
X = torch.randn(4, 10, 16)


def assignment(reducer: Spectral) -> torch.Tensor:
    reducer.build(TOWER, torch.randn(9, 16))
    source = torch.arange(40).unflatten(0, (4, 10))[:, 1:].reshape(1, 36)
    tokens = reducer.before_attention(Tokens(X, torch.ones(4, 10, 1), 4, source=source), 6)
    return tokens.source.unflatten(1, (2, 18)) % tokens.layout.tokens - 1


@pytest.mark.parametrize(
    ("knobs", "graph"),
    [
        ({}, {}),
        ({"sigma": 4.0, "distance": "cosine"}, {"sigma": 4.0, "distance": "cosine"}),
        ({"graph": "nearest_neighbours"}, {"neighbours": 5 * 2}),
        ({"graph": "nearest_neighbours", "neighbours": 4}, {"neighbours": 4}),
        ({"graph": "nearest_neighbours", "own_neighbour": False}, {"neighbours": 5 * 2, "own_neighbour": False}),
        ({"window": [1, 3, 3]}, {"window": spatio_temporal_window(2, 3, 3, (1, 3, 3))}),
    ],
)
def test_the_knobs_are_those_of_the_graph(knobs, graph):
    clusters = spectral_clusters(X[:, 1:].reshape(2, 18, 16), 5, **graph)
    assert torch.equal(assignment(Spectral(frames=4, num_segments=2, num_clusters=5, **knobs))[0], clusters.assignment)


def test_from_100_patches_a_frame_on_the_published_graph_has_5_more_neighbours():
    reducer = Spectral(graph="nearest_neighbours")
    assert [reducer._neighbours(3, patches) for patches in (49, 99, 100, 196)] == [15, 15, 20, 20]
    assert reducer._neighbours(1, 4) == 4  # all that there are, itself among them
    assert Spectral(graph="nearest_neighbours", own_neighbour=False)._neighbours(1, 4) == 3


@pytest.mark.parametrize("own_neighbour", [True, False])
def test_one_point_per_segment_is_its_cluster(own_neighbour):
    knobs = {"graph": "nearest_neighbours", "own_neighbour": own_neighbour}
    reducer = Spectral(frames=4, num_segments=4, num_clusters=1, **knobs)
    tokens = Tokens(X[:, :2], torch.ones(4, 2, 1), 4)
    assert torch.equal(reducer.before_attention(tokens, 6).x, X[:, :2])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"sigma": 0.0}, "reducer.sigma=0.0: must be above 0"),
        ({"graph": "knn"}, "reducer.graph='knn': choose heat_kernel or nearest_neighbours"),
        ({"neighbours": 3}, "reducer.neighbours=3 with reducer.graph=heat_kernel"),
        ({"graph": "nearest_neighbours", "neighbours": 0}, "reducer.neighbours=0"),
        ({"window": [1, 2, 3]}, r"reducer.window=\[1, 2, 3\]: three odd numbers"),
        ({"window": [1, 3]}, r"reducer.window=\[1, 3\]: three odd numbers"),
        ({"window": [1, 3, 3], "block": [4, 8], "num_segments": [4, 1]}, "patches have no place in a frame"),
    ],
)
def test_contradictory_settings_are_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        Spectral(**knobs)


def test_more_neighbours_than_patches_are_refused_when_the_tower_is_built():
    reducer = Spectral(num_segments=4, num_clusters=9, graph="nearest_neighbours", neighbours=28)
    with pytest.raises(ValueError, match=r"reducer.neighbours=28 at block 6, but a patch has 27 in its segment"):
        reducer.build(TOWER, torch.randn(9, 16))


def test_a_window_without_a_square_of_patches_is_refused():
    with pytest.raises(ValueError, match=r"reducer.window=\(1, 3, 3\), but the 8 patches of a frame are no square"):
        Spectral(num_clusters=8, window=[1, 3, 3]).build(TowerShape(12, 16, 8), torch.randn(8, 16))
