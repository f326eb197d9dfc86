"""Ranks counted over blocks are exact where scores tie or nearly tie, whatever the blocks and the precision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.heads.mean import Mean, cosine
from retrieval.metrics import feature_scores
from retrieval.metrics.features import Cosines, FeatureScores
from retrieval.metrics.ranks import caption_chunks, retrieval_ranks
from tests.metrics.test_retrieval_metrics import naive_ranks


def ranks(scores, owner, videos, chunk):
    parts = list(torch.arange(videos).split(chunk))
    t2v, v2t = retrieval_ranks(scores, owner, caption_chunks(owner, chunk), parts)
    return t2v.tolist(), v2t.tolist()


@st.composite
def nearly_tied(draw):
    """Features of few directions, each a hair beside its own: scores tie, or differ by less than float32 tells."""
    videos, captions, kinds = draw(st.integers(1, 9)), draw(st.integers(1, 30)), draw(st.integers(1, 4))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    directions = torch.randn(kinds, 64, generator=random, dtype=torch.float64)
    hair = draw(st.sampled_from([0.0, 1e-6, 1e-4]))

    def features(count):
        own = directions[torch.randint(kinds, (count,), generator=random)]
        return own + hair * torch.randn(count, 64, generator=random, dtype=torch.float64)

    owner = torch.randint(videos, (captions,), generator=random)
    return features(captions), features(videos), owner, draw(st.integers(1, 12))


@given(nearly_tied())
@settings(deadline=None, max_examples=50)
def test_the_ranks_are_those_of_float64_counted_one_by_one(case):
    captions, videos, owner, chunk = case
    exact = FeatureScores(captions, videos, cosine)
    everything = exact(torch.arange(len(captions)), torch.arange(len(videos)))[0].numpy()
    expected = naive_ranks(everything, everything, owner.numpy())
    for scores in (exact, Cosines(exact)):
        t2v, v2t = ranks(scores, owner, len(videos), chunk)
        assert t2v == expected["t2v"].tolist()
        assert v2t == expected["v2t"].tolist()


def test_few_scores_are_multiplied_again_in_float64_and_all_where_all_tie():
    random = torch.Generator().manual_seed(0)
    videos = torch.randn(300, 64, generator=random)
    owner = torch.randint(300, (700,), generator=random)
    captions = videos[owner] + torch.randn(700, 64, generator=random)

    class Counted(Cosines):
        pairs, blocks = 0, 0

        def of_pairs(self, captions, videos):
            self.pairs += len(captions)
            return super().of_pairs(captions, videos)

        def __call__(self, captions, videos):
            self.blocks += 1
            return super().__call__(captions, videos)

    apart, tied = (
        Counted(FeatureScores(x, y, cosine)) for x, y in ((captions, videos), (captions * 0 + 1, videos * 0 + 1))
    )
    assert ranks(apart, owner, 300, 128) == ranks(apart.exact, owner, 300, 128)
    assert apart.pairs < 0.02 * 300 * 700
    assert ranks(tied, owner, 300, 128)[0] == [300] * 700
    blocks = len(caption_chunks(owner, 128)) * 3
    assert apart.blocks < tied.blocks == blocks
    assert tied.pairs == 700  # the right answers


def test_heads_that_compare_by_cosine_are_ranked_the_fast_way():
    features = torch.randn(5, 8)
    assert isinstance(feature_scores(features, features, Mean().similarity), Cosines)
    assert isinstance(feature_scores(features, features, lambda text, video: cosine(text, video)), FeatureScores)


@pytest.mark.parametrize("chunk", [2, 5, 100])
def test_a_right_answer_never_counts_against_itself_nor_does_a_nan_help(chunk):
    """Blocks that round right answers otherwise, as another shape may; and scores of which some are no numbers."""
    owner = torch.tensor([2, 0, 1, 1, 3, 0])
    table = torch.rand(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def rounded(captions, videos):
        block = table[captions][:, videos] + 1e-12 * len(videos) * (owner[captions, None] == videos)
        return block, block.clone()

    def broken(captions, videos):
        block = table[captions][:, videos]
        block[owner[captions, None] != videos] = torch.nan
        return block, block.clone()

    expected = naive_ranks(table.numpy(), table.numpy(), owner.numpy())
    assert ranks(rounded, owner, 4, chunk) == (expected["t2v"].tolist(), expected["v2t"].tolist())
    assert ranks(broken, owner, 4, chunk) == ([4] * 6, [4] * 4)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=40), st.integers(1, 12))
def test_chunks_hold_all_captions_of_a_video(owner, size):
    owner = torch.tensor(owner)
    chunks = caption_chunks(owner, size)
    assert sorted(torch.cat(chunks).tolist()) == list(range(len(owner)))
    videos = [set(owner[chunk].tolist()) for chunk in chunks]
    assert sum(map(len, videos)) == len(owner.unique())
    assert all(len(chunk) <= size or len(own) == 1 for chunk, own in zip(chunks, videos, strict=True))
    assert not np.any([len(chunk) == 0 for chunk in chunks])
