"""Sparse sampling against the rule of the published code, written out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.reducers import SparseSampling, Tokens
from retrieval.reducers.sparse_sampling import centres


def kept(points: int, parts: int, training: bool, videos: int = 2) -> torch.Tensor:
    """Which patches of one long frame travel on."""
    reducer = SparseSampling(frames=1, num_segments=1, num_clusters=parts).train(training)
    x = torch.arange(-1.0, points).repeat(videos, 1).unsqueeze(2)
    return reducer.before_attention(Tokens(x, torch.ones_like(x), clips=1), 6).x[:, 1:, 0]


def test_evaluation_keeps_the_published_positions_for_numbers_up_to_200():
    for points in range(1, 201):
        for parts in range(1, points + 1, 7):
            tick = points / parts
            published = np.array([int(tick / 2.0 + tick * i) for i in range(parts)])
            assert centres(points, parts).tolist() == published.tolist(), (points, parts)


@pytest.mark.parametrize(("points", "parts"), [(98, 30), (147, 49), (588, 160), (49, 49), (7, 1)])
def test_evaluation_keeps_those_positions_of_every_video(points, parts):
    for indices in kept(points, parts, training=False):
        assert indices.tolist() == centres(points, parts).tolist()


@settings(deadline=None)
@given(points=st.integers(1, 200), data=st.data())
def test_training_draws_one_of_each_part_of_whole_length(points, data):
    parts = data.draw(st.integers(1, points))
    length = points // parts
    for indices in kept(points, parts, training=True):
        assert (indices // length).tolist() == list(range(parts))


def test_training_reaches_every_patch_of_the_parts_and_differs_from_video_to_video():
    indices = kept(22, 4, training=True, videos=400)
    assert indices.unique().tolist() == list(range(20))
