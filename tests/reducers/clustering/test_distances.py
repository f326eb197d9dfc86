"""Distances against scikit-learn's and SciPy's, and what they are where those are not defined."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from torch import Tensor

from retrieval.reducers.clustering import check_distance, pairwise_distances

CASES = [("euclidean", 2.0), ("minkowski", 1.0), ("minkowski", 2.0), ("minkowski", 3.0), ("cosine", 2.0)]


def expected(points: Tensor, distance: str, p: float) -> Tensor:
    keywords = {"p": p} if distance == "minkowski" else {}
    return torch.stack([torch.tensor(cdist(each, each, distance, **keywords)) for each in points.double()]).float()


@pytest.mark.parametrize(("distance", "p"), CASES)
def test_distances_are_scipys(distance, p):
    points = torch.randn(3, 20, 7) + 5
    actual = pairwise_distances(points, distance, p)
    torch.testing.assert_close(actual, expected(points, distance, p), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("distance", "p"), CASES)
@settings(deadline=None)
@given(seed=st.integers(0, 1000), offset=st.sampled_from([0.0, 1.0, 1000.0]))
def test_symmetric_and_zero_exactly_between_equal_points(distance, p, seed, offset):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(2, 9, 33, generator=generator) + offset
    distances = pairwise_distances(torch.cat([points, points], dim=1), distance, p)
    assert torch.equal(distances, distances.mT)
    assert (distances.diagonal(9, 1, 2) == 0).all()
    assert (distances.diagonal(0, 1, 2) == 0).all()
    torch.testing.assert_close(distances[:, :9, :9], distances[:, 9:, 9:], rtol=1e-6, atol=0)


def test_near_neighbours_far_from_the_origin_keep_their_distance():
    points = torch.full((1, 3, 256), 10.0)
    points[0, 1, 0] += 2**-8
    points[0, 2, 1] += 2**-6
    torch.testing.assert_close(pairwise_distances(points)[0, 0], torch.tensor([0, 2**-8, 2**-6]), rtol=1e-5, atol=0)


def test_points_without_direction_are_orthogonal_to_all_but_their_like():
    points = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [3.0, 0.0], [0.0, 1e-30]]])
    wanted = torch.tensor([[[0.0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]])
    torch.testing.assert_close(pairwise_distances(points, "cosine"), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(("distance", "p"), CASES)
def test_computed_as_float32_whatever_the_type(dtype, distance, p):
    points = torch.randn(2, 5, 8).to(dtype)
    assert torch.equal(pairwise_distances(points, distance, p), pairwise_distances(points.float(), distance, p))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 3e38])
@pytest.mark.parametrize("distance", ["euclidean", "minkowski", "cosine"])
def test_points_that_are_not_finite_are_refused(bad, distance):
    points = torch.randn(2, 5, 8)
    points[1, 3] = bad
    points[1, 4] = -bad
    if distance == "cosine" and bad == 3e38:
        assert torch.isfinite(pairwise_distances(points, distance)).all()
        return
    with pytest.raises(ValueError, match=r"NaN or infinity .* \(2, 5, 8\)"):
        pairwise_distances(points, distance, 1.0 if distance == "minkowski" else 2.0)


@pytest.mark.parametrize(
    ("distance", "p", "message"),
    [
        ("manhattan", 2.0, "distance='manhattan': choose euclidean, minkowski or cosine"),
        ("minkowski", 0.0, "p=0.0"),
        ("euclidean", 1.0, "p=1.0 with distance=euclidean"),
    ],
)
def test_unknown_distances_are_refused(distance, p, message):
    with pytest.raises(ValueError, match=message):
        check_distance(distance, p)
