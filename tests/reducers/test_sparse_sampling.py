"""Sparse sampling: one patch of each equal part, its centre in evaluation, a random one in training."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.reducers import SparseSampling, Tokens


def kept(points: int, parts: int, training: bool, videos: int = 2) -> torch.Tensor:
    """Which patches of one long frame travel on."""
    reducer = SparseSampling(frames=1, num_segments=1, num_clusters=parts).train(training)
    x = torch.arange(-1.0, points).repeat(videos, 1).unsqueeze(2)
    return reducer.before_attention(Tokens(x, torch.ones_like(x), clips=1), 6).x[:, 1:, 0]


@settings(deadline=None)
@given(points=st.integers(1, 200), training=st.booleans(), data=st.data())
def test_each_equal_part_keeps_one_of_its_patches(points, training, data):
    parts = data.draw(st.integers(1, points))
    bounds = torch.arange(parts + 1) * points // parts
    for indices in kept(points, parts, training):
        assert (bounds[:-1] <= indices).all()
        assert (indices < bounds[1:]).all()


def test_evaluation_keeps_the_centres():
    assert kept(147, 49, training=False)[0].tolist() == list(range(1, 147, 3))


def test_training_reaches_every_patch_and_differs_from_video_to_video():
    indices = kept(20, 4, training=True, videos=400)
    assert indices.unique().tolist() == list(range(20))
