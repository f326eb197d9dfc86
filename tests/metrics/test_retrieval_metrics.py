"""Retrieval metrics against published numbers, a naive count and the properties that ranks must have."""

import doctest
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from retrieval.metrics import RetrievalMetrics, feature_scores, matrix_scores, recall, retrieval, retrieval_metrics
from retrieval.metrics.retrieval import check_index

REFERENCE = Path(__file__).parents[1] / "references" / "retrieval_metrics.safetensors"
PUBLISHED = {"R1": "r_at_1", "R5": "r_at_5", "R10": "r_at_10", "MR": "median_rank", "MeanR": "mean_rank"}


@st.composite
def tied_retrieval(draw):
    """Scores with many ties, the captions' videos (some videos without captions) and a chunk size."""
    videos, captions = draw(st.integers(1, 8)), draw(st.integers(1, 16))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    similarity = generator.integers(0, draw(st.integers(1, 30)), (captions, videos)).astype(np.float32)
    return similarity, generator.integers(0, videos, captions), draw(st.integers(1, 20))


def naive_ranks(t2v, v2t, owner):
    """Both directions counted one by one, as the definition says."""
    videos = range(t2v.shape[1])
    t2v_ranks = [1 + sum(row[u] >= row[v] for u in videos if u != v) for row, v in zip(t2v, owner, strict=True)]
    best = {u: v2t[owner == u].max(0) for u in videos if (owner == u).any()}
    v2t_ranks = [1 + sum(best[u][v] >= best[v][v] for u in best if u != v) for v in best]
    return {"t2v": np.array(t2v_ranks), "v2t": np.array(v2t_ranks)}


def naive_metrics(t2v, v2t, owner, prefix=""):
    ranks = naive_ranks(t2v, v2t, owner)
    metrics = {f"{prefix}{way}/r_at_{k}": 100 * np.mean(rank <= k) for way, rank in ranks.items() for k in (1, 5, 10)}
    sums = {f"{prefix}{way}/r_sum": sum(v for key, v in metrics.items() if f"{way}/" in key) for way in ranks}
    metrics |= sums | {f"{prefix}both/r_sum": sum(sums.values())}
    for way, rank in ranks.items():
        recalls = [np.mean(rank <= k) for k in (1, 5, 10)]
        metrics[f"{prefix}{way}/geometric_mean"] = 100 * np.cbrt(np.prod(recalls))
    for way, rank in ranks.items():
        metrics |= {f"{prefix}{way}/median_rank": np.median(rank), f"{prefix}{way}/mean_rank": rank.mean()}
    return metrics


def from_matrix(similarity, owner, **knobs):
    similarity = torch.as_tensor(similarity)
    return retrieval_metrics(matrix_scores(similarity), similarity.shape[1], torch.as_tensor(owner), **knobs)


def unit_rows(generator, rows, dim):
    rows = generator.standard_normal((rows, dim))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("chunk", [7, 64, 2048])
@pytest.mark.parametrize("section", ["single", "multi"])
def test_published_numbers(section, chunk):
    with safe_open(REFERENCE, "pt") as file:
        similarity = file.get_tensor(f"{section}.similarity")
        owner = torch.arange(len(similarity)) if section == "single" else file.get_tensor("multi.video_of_caption")
        expected = {way: json.loads(file.metadata()[f"{section}.{way}"]) for way in ("text_to_video", "video_to_text")}
    metrics = from_matrix(similarity, owner, chunk=chunk)
    for way, name in {"t2v": "text_to_video", "v2t": "video_to_text"}.items():
        for key, ours in PUBLISHED.items():
            assert metrics[f"{way}/{ours}"] == pytest.approx(expected[name][key], abs=1e-4)
    assert metrics["both/r_sum"] == pytest.approx(
        sum(way[k] for way in expected.values() for k in ("R1", "R5", "R10")), abs=1e-3
    )


@given(tied_retrieval())
@settings(deadline=None)
def test_matrix_agrees_with_naive_count(case):
    similarity, owner, chunk = case
    assert from_matrix(similarity, owner, chunk=chunk) == pytest.approx(naive_metrics(similarity, similarity, owner))


@given(tied_retrieval())
@settings(deadline=None)
def test_increasing_functions_and_orders_change_nothing(case):
    similarity, owner, chunk = case
    generator = np.random.default_rng(chunk)
    captions, videos = generator.permutation(len(owner)), generator.permutation(similarity.shape[1])
    permuted = similarity[captions][:, videos]
    expected = from_matrix(similarity, owner)
    assert from_matrix(np.exp(similarity / 4), owner) == expected
    assert from_matrix(permuted, np.argsort(videos)[owner[captions]], chunk=chunk) == pytest.approx(expected)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 24), st.integers(1, 30))
@settings(deadline=None, max_examples=50)
def test_features_agree_with_naive_count_plain_and_dual_softmax(seed, videos, captions, chunk):
    generator = np.random.default_rng(seed)
    text, video = unit_rows(generator, captions, 16), unit_rows(generator, videos, 16)
    owner = generator.integers(0, videos, captions)
    cosine, temperature = text @ video.T, 20.0
    weight = np.exp(temperature * cosine)
    t2v, v2t = cosine * weight / weight.sum(0), cosine * weight / weight.sum(1, keepdims=True)
    scores = feature_scores(torch.from_numpy(3 * text), torch.from_numpy(video / 5))
    metrics = retrieval_metrics(scores, videos, torch.from_numpy(owner), "dual_softmax", temperature, chunk)
    assert metrics == pytest.approx(
        naive_metrics(cosine, cosine, owner) | naive_metrics(t2v, v2t, owner, "dual_softmax/")
    )


@pytest.mark.parametrize("rescoring", [None, "dual_softmax"])
@pytest.mark.parametrize("captions_per_video", [1, 3])
def test_perfect_and_constant_features(captions_per_video, rescoring):
    prefix = f"{rescoring}/" if rescoring else ""
    owner = torch.arange(50).repeat(captions_per_video)
    perfect = retrieval_metrics(feature_scores(torch.eye(50)[owner], torch.eye(50)), 50, owner, rescoring)
    assert perfect[f"{prefix}both/r_sum"] == 600
    assert perfect[f"{prefix}t2v/mean_rank"] == perfect[f"{prefix}v2t/median_rank"] == 1
    constant = torch.randn(1, 512, generator=torch.Generator().manual_seed(0))
    scores = feature_scores(constant.expand(len(owner), -1), constant.expand(50, -1))
    worst = retrieval_metrics(scores, 50, owner, rescoring, chunk=7)
    assert worst[f"{prefix}both/r_sum"] == 0
    assert worst[f"{prefix}t2v/mean_rank"] == worst[f"{prefix}v2t/mean_rank"] == 50


def test_dual_softmax_tells_small_weights_apart():
    """Weights of e^-180 are no numbers of float32, yet the video that is right must stay ahead of the others."""
    similarity = torch.tensor([[0.1, 0.05], [0.95, 1.0]])
    metrics = from_matrix(similarity, [0, 1], rescoring="dual_softmax", temperature=200.0)
    assert metrics["dual_softmax/t2v/mean_rank"] == metrics["dual_softmax/v2t/mean_rank"] == 1


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_ranks_do_not_depend_on_chunks_or_matmul_precision(precision):
    generator = torch.Generator().manual_seed(1)
    videos = torch.randn(200, 64, generator=generator)
    owner = torch.randint(200, (500,), generator=generator)
    captions = videos[owner] + 3 * torch.randn(500, 64, generator=generator)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            metrics = [retrieval_metrics(feature_scores(captions, videos), 200, owner, chunk=n) for n in (33, 2048)]
    finally:
        torch.set_float32_matmul_precision(before)
    cosine = torch.nn.functional.normalize(captions.double()) @ torch.nn.functional.normalize(videos.double()).T
    assert metrics[0] == metrics[1] == pytest.approx(naive_metrics(cosine.numpy(), cosine.numpy(), owner.numpy()))


def test_metric_drops_repeats_and_counts_what_has_no_partner():
    metrics = RetrievalMetrics()
    metrics.update_videos(torch.eye(4), torch.tensor([9, 2, 5, 2]))
    metrics.update_captions(torch.eye(4)[:2], torch.tensor([0, 3]), torch.tensor([9, 2]))
    metrics.update_captions(torch.eye(4)[1:], torch.tensor([3, 4, 5]), torch.tensor([2, 8, 8]))
    result = metrics.compute()
    counts = {"videos": 3, "captions": 2, "videos_without_caption": 1, "captions_without_video": 2}
    assert counts.items() <= result.items()
    assert result["both/r_sum"] == 600


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_metric_takes_every_float_type(dtype):
    metrics = RetrievalMetrics(rescoring="dual_softmax")
    metrics.update_videos(torch.eye(20, dtype=dtype), torch.arange(20))
    metrics.update_captions(torch.eye(20, dtype=dtype), torch.arange(20), torch.arange(20))
    assert metrics.compute()["dual_softmax/both/r_sum"] == metrics.compute()["both/r_sum"] == 600
    assert all(features.dtype == torch.float32 for features in metrics.features)


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_bad_input_is_named():
    metrics = RetrievalMetrics()
    with pytest.raises(ValueError, match="no videos and no captions"):
        metrics.compute()
    with pytest.raises(ValueError, match=r"2 of 3 video features hold NaN or inf \(index 11, 12\)"):
        metrics.update_videos(torch.tensor([[1.0], [torch.nan], [torch.inf]]), torch.tensor([10, 11, 12]))
    with pytest.raises(ValueError, match="video index -1 is below 0"):
        metrics.update_videos(torch.eye(2), torch.tensor([0, -1]))
    with pytest.raises(ValueError, match="1 values of caption index for 2 features"):
        check_index(torch.tensor([0]), 2, "caption index")
    metrics.update_captions(torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="none of the 2 captions belongs to any of the 0 videos"):
        metrics.compute()
    metrics.update_videos(torch.eye(2), torch.tensor([0, 1]))
    metrics.update_captions(torch.eye(2), torch.tensor([0, 1]), torch.tensor([1, 1]))
    with pytest.raises(ValueError, match="caption index 0 came with two different videos"):
        metrics.compute()


def test_impossible_knobs_are_named():
    with pytest.raises(
        ValueError, match=r"rescoring='qb' is unknown: choose null or one of \['dual_softmax', 'qb_norm'\]"
    ):
        RetrievalMetrics(rescoring="qb")
    with pytest.raises(ValueError, match="bank_top=0 must be"):
        RetrievalMetrics(bank_top=0)
    with pytest.raises(ValueError, match=r"temperature=0\.0 must be"):
        RetrievalMetrics(temperature=0.0)
    with pytest.raises(ValueError, match="chunk=0 must be"):
        RetrievalMetrics(chunk=0)
    with pytest.raises(ValueError, match="video_of_caption runs from 0 to 3, but must lie in 0 to 2"):
        from_matrix(np.eye(3), [0, 1, 3])
    with pytest.raises(ValueError, match="nothing to rank: 3 videos and 0 captions"):
        from_matrix(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match="1 of 2 rows of the similarity matrix"):
        from_matrix(torch.tensor([[1.0, 0.0], [torch.nan, 1.0]]), [0, 1])


@pytest.mark.parametrize("module", [recall, retrieval])
def test_documented_examples(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
