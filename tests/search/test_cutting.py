"""Moments cover all of a video, none is longer than the window, and the tail is among them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.data.corpora.moving_shapes import encode
from retrieval.data.decoder import open_pyav
from retrieval.errors import UserError
from retrieval.search.cutting import Cut, windows

SECONDS = st.floats(0.5, 60)


def test_windows_of_a_video():
    assert windows(0.0, 23.0, 10.0, 5.0) == [(0.0, 10.0), (5.0, 15.0), (10.0, 20.0), (13.0, 23.0)]
    assert windows(0.0, 20.0, 10.0, 5.0) == [(0.0, 10.0), (5.0, 15.0), (10.0, 20.0)]
    assert windows(0.0, 7.0, 10.0, 5.0) == [(0.0, 7.0)]


@given(SECONDS, SECONDS, SECONDS, SECONDS)
def test_nothing_is_left_out_but_what_a_longer_stride_skips(start, length, window, stride):
    spans = windows(start, start + length, window, stride)
    assert spans[0][0] == start
    assert spans[-1][1] == start + length
    assert all(end - begin <= window + 2e-3 for begin, end in spans)
    assert all(later[0] - before[0] <= stride + 2e-3 for before, later in pairwise(spans))
    assert len(set(spans)) == len(spans)


def test_shots_end_where_the_picture_changes(tmp_path):
    """Three still pictures of two seconds each."""
    pictures = np.random.default_rng(0).integers(0, 255, (3, 1, 4, 4, 3)).astype(np.uint8)
    frames = np.repeat(np.repeat(np.repeat(pictures, 24, 1), 16, 2), 16, 3).reshape(72, 64, 64, 3)
    path = tmp_path / "shots.mp4"
    encode(path, frames, fps=12)
    video = open_pyav(path)
    assert Cut(10.0, 5.0, shots=True)(video) == [(0.0, 2.0), (2.0, 4.0), (4.0, 6.0)]
    assert Cut(10.0, 5.0)(video) == [(0.0, 6.0)]


def test_windows_of_no_time_are_refused():
    for knobs in ({"window": 0.0}, {"stride": -1.0}, {"window": float("inf")}):
        with pytest.raises(UserError, match="must be positive"):
            Cut(**knobs)
