"""The clustering reducers' own knobs; their numbers are held against the published system in test_centerclip.py."""

import pytest
import torch
from torch import nn

from retrieval import load_model
from retrieval.reducers import Chain, KMedoids, Spectral, TempMe, Tokens, TowerShape
from retrieval.reducers.clustering import k_medoids
from retrieval.training.optimization import parameter_groups
from tests.conftest import TINY_CLIP

TOWER = TowerShape(blocks=12, width=16, patches=9)
POSITIONS = torch.randn(9, 16)


def tokens_of(x: torch.Tensor) -> Tokens:
    return Tokens(x, torch.ones(*x.shape[:2], 1), clips=len(x))


def reduced(reducer: KMedoids, x: torch.Tensor) -> torch.Tensor:
    reducer.build(TOWER, POSITIONS)
    return reducer.before_attention(tokens_of(x), 6).x


def test_medoids_keep_their_order_and_values():
    x = torch.randn(3, 10, 16)
    patches = x[:, 1:].reshape(1, 27, 16)
    expected = patches[0, k_medoids(patches, 8).medoids[0]]
    assert torch.equal(reduced(KMedoids(frames=3, num_segments=1, num_clusters=8), x)[0, 1:], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_means_are_those_of_the_clusters(dtype):
    x = torch.randn(3, 10, 16).to(dtype)
    patches = x[:, 1:].reshape(27, 16)
    assignment = k_medoids(patches[None], 8).assignment[0]
    expected = torch.stack([patches[assignment == cluster].float().mean(0) for cluster in range(8)])
    actual = reduced(KMedoids(frames=3, num_segments=1, num_clusters=8, aggregate="mean"), x)[0, 1:]
    assert actual.dtype == dtype
    torch.testing.assert_close(actual, expected.to(dtype), rtol=2e-2, atol=2e-2)


def test_pre_norm_clusters_directions_and_keeps_the_patches():
    x = torch.randn(3, 10, 16)
    lengths = torch.rand(3, 10, 1) + 0.5
    by_direction = [
        reduced(KMedoids(frames=3, num_segments=1, num_clusters=8, pre_norm=True), value) for value in (x, x * lengths)
    ]
    chosen = [k_medoids(torch.nn.functional.normalize(x[:, 1:].reshape(1, 27, 16), dim=-1), 8).medoids[0]]
    assert torch.equal(by_direction[0][0, 1:], x[:, 1:].reshape(27, 16)[chosen[0]])
    assert torch.equal(by_direction[1][0, 1:], (x * lengths)[:, 1:].reshape(27, 16)[chosen[0]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_choice_is_made_in_float32_under_autocast(dtype):
    x = torch.randn(3, 10, 16)
    plain = reduced(KMedoids(frames=3, num_segments=1, num_clusters=8), x)
    with torch.autocast("cpu", dtype):
        assert torch.equal(reduced(KMedoids(frames=3, num_segments=1, num_clusters=8), x)[0, 1:], plain[0, 1:])


@pytest.mark.parametrize("clusters", [9, 5])
def test_cluster_embeddings_start_from_clips_first_positions_and_learn(clusters):
    x = torch.randn(3, 10, 16)
    plain = reduced(KMedoids(frames=3, num_segments=1, num_clusters=clusters), x)
    reducer = KMedoids(frames=3, num_segments=1, num_clusters=clusters, cluster_embedding=True)
    embedded = reduced(reducer, x)
    embedding = reducer.cluster_embedding["6"]
    assert embedding.shape == (clusters, 16)
    torch.testing.assert_close(embedded[0, 1:], plain[0, 1:] + embedding)
    assert torch.equal(embedding, POSITIONS[:clusters])
    embedded.sum().backward()
    assert torch.equal(embedding.grad, torch.ones(clusters, 16))


def test_cluster_embeddings_train_at_clips_rate_in_a_chain_too():
    model = load_model(TINY_CLIP, Chain([KMedoids(cluster_embedding=True), TempMe(4, [9], [4])]))
    reducer = model.visual.reducer
    groups = {group["name"]: group["params"] for group in parameter_groups(model, nn.Identity(), 1e-5, 1e-3, 0.2)}
    at_rate = {rate: {id(each) for each in groups[f"{rate} matrices"]} for rate in ("CLIP's", "new")}
    (embedding,), (position,) = reducer.reducers[0].parameters(), reducer.reducers[1].parameters()
    assert torch.equal(embedding, model.visual.positional_embedding[1:50])
    assert id(embedding) in at_rate["CLIP's"]
    assert id(embedding) not in at_rate["new"]
    assert at_rate["new"] == {id(position)}


def test_cluster_embeddings_of_a_checkpoint_are_those_that_it_was_saved_with(tmp_path):
    knobs = {"cluster_embedding": True, "num_clusters": 20}
    model = load_model(TINY_CLIP, KMedoids(**knobs))
    learned = torch.randn(20, 128)
    model.visual.reducer.cluster_embedding["6"].data.copy_(learned)
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    saved = {"_target_": "retrieval.reducers.KMedoids", **knobs}
    architecture = model.architecture.to_dict()
    torch.save(
        {"architecture": architecture, "lora_rank": None, "reducer": saved, "state_dict": weights},
        tmp_path / "best.ckpt",
    )
    loaded = load_model(tmp_path / "best.ckpt").visual.reducer
    assert torch.equal(loaded.cluster_embedding["6"], learned)


def test_more_clusters_than_positions_have_no_embedding_to_start_from():
    with pytest.raises(ValueError, match=r"num_clusters=10 at block 6, .* a position of CLIP's, which has 9"):
        KMedoids(num_clusters=10, cluster_embedding=True).build(TOWER, POSITIONS)


@pytest.mark.parametrize("reducer", [KMedoids, Spectral])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_tokens_that_are_not_finite_name_reducer_block_and_shape(reducer, bad):
    x = torch.randn(3, 10, 16)
    x[1, 5] = bad
    with pytest.raises(ValueError, match=rf"reducer {reducer.__name__} at block 6: NaN or infinity .*\(1, 27, 16\)"):
        reduced(reducer(frames=3, num_segments=1, num_clusters=8), x)


@pytest.mark.parametrize("reducer", [KMedoids, Spectral])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distance": "manhattan"}, "distance='manhattan'"),
        ({"distance": "cosine", "p": 3.0}, "p=3.0 with distance=cosine"),
        ({"aggregate": "median"}, "reducer.aggregate='median': choose medoid or mean"),
        ({"max_iterations": -1}, "reducer.max_iterations=-1"),
        ({"num_clusters": [49, 49]}, r"reducer.num_clusters=\[49, 49\] for reducer.block=\[6\]"),
    ],
)
def test_unknown_choices_are_refused(reducer, changes, message):
    with pytest.raises(ValueError, match=message):
        reducer(**changes)
