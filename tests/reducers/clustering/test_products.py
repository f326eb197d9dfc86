"""Inner products from digits against float64's, and the medoids that both find, on points as hard as they come."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from retrieval.reducers.clustering import distances, k_medoids, kmedoids, pairwise_distances
from retrieval.reducers.clustering.kmedoids import Clusters
from retrieval.reducers.clustering.products import has_little_float64, inner_products
from tests.conftest import NUMBERS
from tests.reducers.clustering.test_kmedoids import PUBLISHED, point_sets

TOKENS = ["kmedoids_4_segments", "kmedoids_two_stages", "kmedoids_3_segments_cosine_mean"]


def clusters_by(digits: bool, points: Tensor, number: int, distance: str = "euclidean") -> Clusters:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "has_little_float64", lambda device: digits)
        return k_medoids(points, number, distance)


def assert_same_clusters(points: Tensor, number: int, distance: str = "euclidean") -> None:
    exact, ours = (clusters_by(digits, points, number, distance) for digits in (False, True))
    assert ours.medoids.equal(exact.medoids)
    assert ours.assignment.equal(exact.assignment)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    scale=st.sampled_from([1e-40, 1e-20, 1.0, 3e7, 1e18]),
    dim=st.sampled_from([1, 7, 64, 1025]),
    offset=st.sampled_from([0.0, 1.0, 300.0]),
)
def test_products_are_those_of_float64(seed, scale, dim, offset):
    points = torch.randn(2, 9, dim, generator=torch.Generator().manual_seed(seed)) + offset
    points[0, :, 0] *= 50  # a channel far above the others, as CLIP has some
    points *= scale
    exact = points.double()
    products = inner_products(points)
    largest = exact.abs().amax((1, 2))[:, None, None]
    assert ((products - exact @ exact.mT).abs() <= 2.0**-30 * dim * largest**2).all()
    assert products.equal(products.mT)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), dim=st.sampled_from([3, 768, 2100]))
def test_equal_points_have_equal_products_in_any_precision_of_the_matrix_product(seed, dim):
    """Digits are exact in bfloat16 too, so that autocast and TF32 change nothing."""
    points = torch.randn(1, 5, dim, generator=torch.Generator().manual_seed(seed)) * 7 + 100
    products = inner_products(torch.cat([points, points], dim=1))
    assert (products[:, :5, :5] == products[:, 5:, :5]).all()
    assert (products[:, :5, :5] == products[:, 5:, 5:]).all()
    with torch.autocast("cpu", torch.bfloat16):
        assert inner_products(points).equal(products[:, :5, :5])


def test_points_that_are_zero_or_not_finite():
    assert inner_products(torch.zeros(1, 2, 3)).equal(torch.zeros(1, 2, 2, dtype=torch.float64))
    one_of_two = torch.tensor([[[1.0], [torch.inf]], [[1.0], [2.0]]])
    assert inner_products(one_of_two).isnan().flatten(1).all(1).tolist() == [True, False]
    for bad in (torch.nan, torch.inf, 3e38):
        points = torch.tensor([[[bad, 1.0], [-bad, 1.0]]])
        with pytest.raises(ValueError, match="NaN or infinity"):
            pairwise_distances(points, digits=True)


@pytest.mark.parametrize("name", PUBLISHED)
def test_medoids_of_the_published_points(name):
    with safe_open(NUMBERS / "kmedoids_points.safetensors", "pt") as file:
        knobs = json.loads(file.metadata()[name])
        points, medoids = (file.get_tensor(f"{name}.{key}") for key in ("points", "medoids"))
    if knobs["distance"] == "cosine" or knobs["p"] == 2:
        distance = "cosine" if knobs["distance"] == "cosine" else "euclidean"
        assert clusters_by(True, points, knobs["clusters"], distance).medoids.equal(medoids)


@pytest.mark.parametrize("name", TOKENS)
def test_medoids_of_real_tokens(name):
    with safe_open(NUMBERS / f"{name}.safetensors", "pt") as file:
        points, medoids = (file.get_tensor(f"clustering.0.{key}") for key in ("points", "medoids"))
    distance = "cosine" if "cosine" in name else "euclidean"
    assert clusters_by(True, points, 49, distance).medoids.equal(medoids)


@settings(deadline=None, max_examples=40)
@given(point_sets())
def test_medoids_where_many_points_and_distances_tie(case):
    points, number = case
    for distance in ("euclidean", "cosine"):
        assert_same_clusters(points, number, distance)


def near_ties(seed: int) -> Tensor:
    """Triples of points far from the origin, each an isosceles triangle but for a millionth of a side."""
    random = torch.Generator().manual_seed(seed)
    centres = 300 + 20 * torch.randn(1, 12, 1, 768, generator=random)
    u, v = torch.linalg.qr(torch.randn(12, 768, 2, generator=random)).Q.unbind(-1)
    apart = 1 + 1e-6 * torch.randint(-40, 41, (12, 1), generator=random)
    corners = torch.stack([torch.zeros_like(u), u, 0.6 * u + 0.8 * apart * v], dim=1)
    return (centres + corners).flatten(1, 2)


@pytest.mark.parametrize("seed", range(6))
def test_medoids_of_near_ties_far_from_the_origin(seed, monkeypatch):
    """Where products in plain float32 find others."""
    points = near_ties(seed)
    assert_same_clusters(points, 12)
    products = points @ points.mT
    norms = products.diagonal(dim1=1, dim2=2)
    plain = (norms[:, None] + norms[:, :, None] - 2 * products).clamp(min=0).sqrt()
    exact = k_medoids(points, 12).medoids
    monkeypatch.setattr(kmedoids, "pairwise_distances", lambda *_: plain)
    assert not k_medoids(points, 12).medoids.equal(exact)


@pytest.mark.parametrize(
    ("capability", "little"),
    [((7, 0), False), ((8, 0), False), ((9, 0), False), ((7, 5), True), ((8, 6), True), ((12, 0), True)],
)
def test_which_devices_have_little_float64(capability, little, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_little_float64(torch.device("cuda", 0)) == little
    assert not has_little_float64(torch.device("cpu"))
