"""Examples agree with the ranks that metrics count, ties included."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from retrieval.metrics import RetrievalMetrics
from retrieval.metrics.examples import retrieval_examples, spread

directions = st.lists(st.integers(0, 3), min_size=2, max_size=12)  # few, so that videos tie exactly


@given(videos=directions, captions=directions)
def test_the_right_video_stands_where_its_rank_says(videos, captions):
    metrics = RetrievalMetrics()
    axes = torch.eye(4) + 0.1
    numbers = torch.arange(len(videos)) * 10
    metrics.update_videos(axes[videos], numbers)
    own = numbers[torch.arange(len(captions)) % len(videos)]
    metrics.update_captions(axes[captions], torch.arange(len(captions)), own)
    examples = retrieval_examples(metrics.items(), queries=len(captions), top=len(videos))
    assert sorted(example.caption for example in examples) == list(range(len(captions)))
    for example in examples:
        assert example.video == own[example.caption]
        assert example.found[example.rank - 1][0] == example.video
        cosines = [cosine for _, cosine in example.found]
        assert cosines == sorted(cosines, reverse=True)
    ranks = [example.rank for example in examples]
    assert ranks == sorted(ranks)
    assert sum(ranks) / len(ranks) == metrics.compute()["t2v/mean_rank"]


@given(total=st.integers(1, 500), count=st.integers(1, 50))
def test_places_are_spread_from_the_first_to_the_last(total, count):
    places = spread(total, count).tolist()
    assert len(set(places)) == len(places) == min(total, count)
    assert places[0] == 0
    assert count == 1 or places[-1] == total - 1
