"""QB-Norm against the paper's definition on the full matrix, and what it must not depend on."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from retrieval.metrics import RetrievalMetrics, feature_scores, matrix_scores, retrieval_metrics
from retrieval.metrics.rescoring import Querybank
from tests.metrics.test_retrieval_metrics import naive_metrics, unit_rows

VIDEOS, CAPTIONS, BANK = 12, 30, 25


def dynamic_inverted_softmax(scores, bank, beta, top):
    """Bogolin et al. 2022 word for word, for scores [query, video] and [bank query, video] without ties."""
    activated = set(np.argsort(-bank, axis=1)[:, :top].ravel().tolist())
    rescored = np.exp(beta * scores) / np.exp(beta * bank).sum(0)
    is_rescored = np.array([best in activated for best in scores.argmax(1)])
    return np.where(is_rescored[:, None], rescored, scores)


def querybank(scores, top=1, chunk=2048):
    return Querybank(scores, torch.arange(BANK).split(chunk), top)


def features(seed):
    """Captions about their videos, of which the first is a hub: near to everything."""
    generator = np.random.default_rng(seed)
    videos = unit_rows(generator, VIDEOS, 16)
    videos[0] += 3 * videos.mean(0)
    owner = np.arange(CAPTIONS) % VIDEOS
    captions, bank = (videos[own] + generator.standard_normal((len(own), 16)) for own in (owner, np.arange(BANK) % 5))
    return *(x / np.linalg.norm(x, axis=1, keepdims=True) for x in (captions, videos, bank)), owner


@example(seed=0, top=2, beta=20.0, chunk=1)  # once: it takes as long as ten others
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from([1.0, 20.0, 300.0]), st.integers(7, 40))
@settings(deadline=None, max_examples=20)
def test_ranks_are_those_of_the_definition_whatever_the_chunks(seed, top, beta, chunk):
    captions, videos, bank, owner = features(seed)
    cosines = captions @ videos.T
    expected = dynamic_inverted_softmax(cosines, bank @ videos.T, beta, top)
    text, video, bank_text = map(torch.from_numpy, (captions, videos, bank))
    prepared = querybank(feature_scores(bank_text, video), top, chunk)
    metrics = retrieval_metrics(
        feature_scores(text, video), VIDEOS, torch.from_numpy(owner), "qb_norm", beta, chunk, prepared
    )
    rescored = naive_metrics(expected, expected, owner, "qb_norm/")
    labelled = {name: value for name, value in rescored.items() if name.startswith("qb_norm/t2v/")}
    assert metrics == pytest.approx(naive_metrics(cosines, cosines, owner) | labelled)


def test_a_hub_loses_its_queries():
    """Video 0 is the best of every query, and of every bank query; what is above its habit decides."""
    similarity = torch.tensor([[0.9, 0.1, 0.1], [0.8, 0.7, 0.1], [0.8, 0.1, 0.7]])
    bank = torch.tensor([[0.8, 0.1, 0.1]]).expand(BANK, -1)
    metrics = retrieval_metrics(
        matrix_scores(similarity), 3, torch.arange(3), "qb_norm", bank=querybank(matrix_scores(bank))
    )
    assert metrics["t2v/r_at_1"] == pytest.approx(100 / 3)
    assert metrics["qb_norm/t2v/r_at_1"] == 100
    elsewhere = querybank(matrix_scores(bank.flip(1)))  # no query's best video is activated
    metrics = retrieval_metrics(matrix_scores(similarity), 3, torch.arange(3), "qb_norm", bank=elsewhere)
    assert metrics["qb_norm/t2v/r_at_1"] == metrics["t2v/r_at_1"]


def test_ties_do_not_depend_on_the_order_of_videos():
    generator = np.random.default_rng(0)
    scores, bank = (
        torch.from_numpy(generator.integers(0, 3, (rows, VIDEOS)).astype(np.float32)) for rows in (60, BANK)
    )
    owner = torch.from_numpy(generator.integers(0, VIDEOS, 60))
    order = torch.from_numpy(generator.permutation(VIDEOS))
    results = [
        retrieval_metrics(
            matrix_scores(scores[:, videos]), VIDEOS, videos.argsort()[owner], "qb_norm", 1.0, chunk,
            querybank(matrix_scores(bank[:, videos]), 2, chunk),
        )
        for videos, chunk in ((torch.arange(VIDEOS), 2048), (order, 5))
    ]  # fmt: skip
    assert results[0] == pytest.approx(results[1])


def test_the_metric_gathers_its_bank_apart():
    captions, videos, bank, owner = (torch.from_numpy(values) for values in features(1))
    metrics = RetrievalMetrics("qb_norm", chunk=7)
    metrics.update_videos(videos, torch.arange(VIDEOS))
    for part in torch.arange(BANK + 3).clamp(max=BANK - 1).split(10):  # a padded sampler repeats the last
        metrics.update_bank(bank[part], part)
    metrics.update_captions(captions, torch.arange(CAPTIONS), owner)
    expected = retrieval_metrics(
        feature_scores(captions, videos), VIDEOS, owner, "qb_norm", 20.0, bank=querybank(feature_scores(bank, videos))
    )
    result = metrics.compute()
    assert expected.items() <= result.items()
    assert (result["captions"], result["captions_without_video"]) == (CAPTIONS, 0)


def test_a_missing_bank_is_told():
    with pytest.raises(ValueError, match="'qb_norm' normalises by a bank of training captions, but none were given"):
        retrieval_metrics(matrix_scores(torch.eye(3)), 3, torch.arange(3), "qb_norm")
