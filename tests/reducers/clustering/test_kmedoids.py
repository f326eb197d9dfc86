"""k-medoids++ against the published system's own results and FasterPAM, and its properties."""

import json

import kmedoids as fasterpam
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from retrieval.reducers.clustering import k_medoids, kkz_seeds, pairwise_distances
from tests.conftest import NUMBERS

PUBLISHED = ["euclidean_60_into_6", "cosine_98_into_8", "manhattan_60_into_5"]


@pytest.fixture(params=PUBLISHED)
def published(request) -> tuple[dict[str, Tensor], dict]:
    with safe_open(NUMBERS / "kmedoids_points.safetensors", "pt") as file:
        settings = json.loads(file.metadata()[request.param])
        names = ("points", "initial_medoids", "medoids", "assignment")
        return {name: file.get_tensor(f"{request.param}.{name}") for name in names}, settings


def test_seeds_medoids_and_assignments_are_the_published_ones(published):
    tensors, settings = published
    distance = "cosine" if settings["distance"] == "cosine" else "minkowski"
    p, clusters = settings["p"], settings["clusters"]
    seeds = kkz_seeds(tensors["points"], pairwise_distances(tensors["points"], distance, p), clusters)
    medoids, assignment = k_medoids(tensors["points"], clusters, distance, p, settings["iteration_limit"])
    assert torch.equal(seeds, tensors["initial_medoids"])
    assert torch.equal(medoids, tensors["medoids"])
    assert torch.equal(assignment, tensors["assignment"])


@pytest.mark.parametrize(
    ("name", "distance"),
    [
        ("kmedoids_4_segments", "euclidean"),
        ("kmedoids_two_stages", "euclidean"),
        ("kmedoids_3_segments_cosine_mean", "cosine"),
    ],
)
def test_clusters_of_real_tokens_are_the_published_ones(name, distance):
    with safe_open(NUMBERS / f"{name}.safetensors", "pt") as file:
        points, medoids, assignment = (
            file.get_tensor(f"clustering.0.{key}") for key in ("points", "medoids", "assignment")
        )
    clusters = k_medoids(points, 49, distance)
    assert torch.equal(clusters.medoids, medoids)
    assert torch.equal(clusters.assignment, assignment)


def cost(points: Tensor, medoids: Tensor) -> Tensor:
    distances = pairwise_distances(points)
    return distances.gather(1, medoids.unsqueeze(2).expand(-1, -1, points.shape[1])).amin(1).sum(1)


@pytest.mark.parametrize(("points", "clusters", "dim"), [(98, 49, 128), (147, 49, 128), (60, 6, 32)])
@pytest.mark.parametrize("sample", [torch.randn, torch.rand])
def test_cost_is_within_5_percent_of_fasterpam(sample, points, clusters, dim):
    x = sample(6, points, dim)
    best = [fasterpam.fasterpam(each.numpy(), clusters, random_state=0).loss for each in pairwise_distances(x)]
    assert (cost(x, k_medoids(x, clusters).medoids) <= 1.05 * torch.tensor(best)).all()


@st.composite
def point_sets(draw) -> tuple[Tensor, int]:
    """Point sets as hard as they come: on a coarse grid many points are equal and many distances tie."""
    batch, points, dim = draw(st.integers(1, 3)), draw(st.integers(1, 24)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    x = torch.randn(batch, points, dim, generator=generator)
    grid = draw(st.sampled_from([None, 1.0, 4.0]))
    return (x if grid is None else (x / grid).round() * grid), draw(st.integers(1, points))


@settings(deadline=None)
@given(point_sets())
def test_medoids_ascend_and_are_members_of_their_own_clusters(case):
    points, k = case
    medoids, assignment = k_medoids(points, k)
    assert medoids.shape == (len(points), k)
    assert (medoids.diff(dim=1) > 0).all()
    assert torch.equal(assignment.gather(1, medoids), torch.arange(k).expand(len(points), -1))


@settings(deadline=None)
@given(point_sets())
def test_cost_is_never_worse_than_the_seeding(case):
    points, k = case
    seeds = kkz_seeds(points, pairwise_distances(points), k)
    assert (cost(points, k_medoids(points, k).medoids) <= cost(points, seeds) * (1 + 1e-6)).all()


@settings(deadline=None)
@given(point_sets(), st.randoms(use_true_random=False))
def test_permuting_the_sets_permutes_the_clusters(case, random):
    points, k = case
    order = torch.tensor(random.sample(range(len(points)), len(points)))
    clusters, permuted = k_medoids(points, k), k_medoids(points[order], k)
    assert torch.equal(permuted.medoids, clusters.medoids[order])
    assert torch.equal(permuted.assignment, clusters.assignment[order])


@settings(deadline=None)
@given(point_sets())
def test_the_result_is_a_fixed_point(case):
    points, k = case
    medoids, assignment = k_medoids(points, k)
    distances = pairwise_distances(points).double()
    costs = (distances * (assignment.unsqueeze(1) == assignment.unsqueeze(2))).sum(2)
    for batch, cluster in [(b, c) for b in range(len(points)) for c in range(k)]:
        members = (assignment[batch] == cluster).nonzero()[:, 0]
        assert medoids[batch, cluster] == members[costs[batch, members].argmin()]


def test_in_a_cluster_of_two_the_lower_index_is_the_medoid():
    pairs = torch.randn(50, 1, 64) + torch.randn(50, 2, 64) * 0.1
    assert (k_medoids(pairs, 1).medoids == 0).all()


def test_equal_norms_seed_at_the_lowest_index():
    directions = torch.nn.functional.normalize(torch.randn(20, 30, 64), dim=-1)
    assert (kkz_seeds(directions, pairwise_distances(directions), 3)[:, 0] == 0).all()


def test_equal_points_fill_all_clusters():
    medoids, assignment = k_medoids(torch.ones(1, 6, 3), 4)
    assert medoids.tolist() == [[0, 1, 2, 3]]
    assert assignment.tolist() == [[0, 1, 2, 3, 0, 0]]


@pytest.mark.parametrize("points", [1, 5])
def test_as_many_clusters_as_points_are_the_points(points):
    clusters = k_medoids(torch.randn(3, points, 4), points)
    assert torch.equal(clusters.medoids, torch.arange(points).expand(3, -1))
    assert torch.equal(clusters.assignment, clusters.medoids)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_clustered_as_float32(dtype):
    points = torch.randn(2, 40, 16).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        clusters = k_medoids(points, 7)
    assert all(torch.equal(a, b) for a, b in zip(clusters, k_medoids(points.float(), 7), strict=True))


@pytest.mark.parametrize("clusters", [0, 6])
def test_impossible_numbers_of_clusters_are_refused(clusters):
    with pytest.raises(ValueError, match=rf"{clusters} clusters of points \(2, 5, 3\): 1 to 5 are possible"):
        k_medoids(torch.randn(2, 5, 3), clusters)


def test_memory_grows_with_points_squared_whatever_the_clusters():
    with torch.profiler.profile(profile_memory=True) as profile:
        k_medoids(torch.randn(4, 400, 8), 200)
    largest = max(abs(event.self_cpu_memory_usage) for event in profile.events())
    assert largest <= 8 * 4 * 400 * 400 + 64
